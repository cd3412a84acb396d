#include "data/masking.h"

#include "core/philox.h"
#include "data/bpe.h"

static const float kMask = 0.8f, kAny = 0.1f;

uint64_t sg_masking_key(const sg_masking *m, int64_t epoch, int64_t sample) {
    uint64_t key = sg_key_mix(sg_key_mix(sg_key_name("masking"), m->seed), (uint64_t)epoch);

    return sg_key_mix(key, (uint64_t)sample);
}

int64_t sg_masking_count(const sg_masking *m, int64_t tokens) {
    int64_t count = (int64_t)(m->share * (double)tokens + 0.5);

    if (tokens == 0) return 0;
    if (count > tokens) return tokens;
    return count > 0 ? count : 1;
}

int64_t sg_masking_apply(const sg_masking *m, uint64_t key, int32_t *ids, int64_t tokens,
                         int32_t *place, int32_t *guess) {
    uint64_t order = sg_key_mix(key, sg_key_name("places"));
    int64_t count = sg_masking_count(m, tokens);

    for (int64_t i = 0; i < count; i++) {
        int64_t at = sg_permute(order, tokens, i);
        sg_philox4 drawn = sg_philox(key, (uint64_t)i, 0);
        float what = sg_unit_float(drawn.word[0]);
        uint32_t subwords = (uint32_t)(m->vocabulary - SG_BPE_BYTE);

        place[i] = (int32_t)at;
        guess[i] = ids[at];
        if (what < kMask)
            ids[at] = SG_BPE_MASK;
        else if (what < kMask + kAny)
            ids[at] = SG_BPE_BYTE + (int32_t)(drawn.word[1] % subwords);
    }
    return count;
}
