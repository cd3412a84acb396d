/* What the kinds of transport share: how their arguments are checked, and deadlines. */
#ifndef SG_DIST_TRANSPORT_INSIDE_H
#define SG_DIST_TRANSPORT_INSIDE_H

#include "dist/transport.h"

#ifdef __cplusplus
extern "C" {
#endif

/* SG_ERR_ARG: rank, size, or nobody to introduce it. */
sg_status sg_transport_check(const sg_transport_options *options) SG_CHECKED;
/* SG_ERR_ARG: a message to or from member `rank` itself or one of whom there is none. */
sg_status sg_transport_check_messages(const sg_transfer *message, int n, int rank,
                                      int size) SG_CHECKED;

/* `seconds` from now, on sg_now's clock; at most some years. */
double sg_transport_deadline(double seconds);

#ifdef __cplusplus
}
#endif
#endif
