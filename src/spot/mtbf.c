#include "spot/notice.h"

/* Hours that a node was held, divided by nodes lost, in public traces. Fleets differ from 0.9 to
 * 140 hours, so this is an order of magnitude, from machines that were in demand: too short a time
 * costs little, as a checkpoint is cheap, too long a time costs work.
 *
 *   AWS    1.64 h: V100 (p3), up to 32 nodes; g4dn.xlarge is at 2.35 h. Both from Bamboo (NSDI'23),
 *          github.com/uclasystem/bamboo, traces/p3-trace.csv and doc/data/
 *   GCP    3.56 h: 80 V100 in us-east1-c, the same, traces/gcloud/; a median life of 1.9 h, a mean
 *          of 8.4 h for 1,442 machines of 2019 (HPDC'20, kadupitiya/goog-preemption-data)
 *   Azure  no public trace: as AWS
 *   none   no trace either: a day, for whoever ends the job */
double sg_spot_mtbf(sg_spot_provider provider) {
    static const double kHour = 3600;

    switch (provider) {
    case SG_SPOT_NONE:
        return 24 * kHour;
    case SG_SPOT_GCP:
        return 3.56 * kHour;
    case SG_SPOT_UNKNOWN:
    case SG_SPOT_AWS:
    case SG_SPOT_AZURE:
        break;
    }
    return 1.64 * kHour;
}
