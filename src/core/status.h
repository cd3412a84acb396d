/* Status codes, and one line of text for the last failure.
 *
 * A library function that can fail returns sg_status, fills its out-parameters only on success and
 * never prints or exits. The first failure leaves one line; those above pass the code on. */
#ifndef SG_CORE_STATUS_H
#define SG_CORE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define SG_STATUS_LIST(X)                                                                          \
    X(OK, "ok")                                                                                    \
    X(ERR_ARG, "bad argument")                                                                     \
    X(ERR_OOM, "out of memory")                                                                    \
    X(ERR_UNSUPPORTED, "not supported")                                                            \
    X(ERR_IO, "i/o error")                                                                         \
    X(ERR_CUDA, "cuda error")                                                                      \
    X(ERR_DATA, "bad data")                                                                        \
    X(ERR_MISSING, "input missing")                                                                \
    X(ERR_CONFIG, "bad configuration")                                                             \
    X(ERR_UNAVAILABLE, "unavailable")                                                              \
    X(ERR_DIVERGED, "training diverged")                                                           \
    X(ERR_INTERRUPTED, "interrupted")

#define SG_STATUS_ENUM(name, text) SG_##name,
typedef enum { SG_STATUS_LIST(SG_STATUS_ENUM) SG_STATUS_COUNT } sg_status;
#undef SG_STATUS_ENUM

#if defined(__GNUC__)
#define SG_CHECKED                __attribute__((warn_unused_result))
#define SG_PRINTF(text_at, first) __attribute__((format(printf, text_at, first)))
#else
#define SG_CHECKED
#define SG_PRINTF(text, first)
#endif

/* Keep the text for this thread and return `code`. A control byte in it becomes `?`, so that it is
 * one line whatever was quoted. */
sg_status sg_fail(sg_status code, const char *fmt, ...) SG_PRINTF(2, 3);
/* This thread's last text; valid until its next failure. Never NULL. */
const char *sg_last_error(void);
/* The general meaning of a code: "bad argument". */
const char *sg_status_text(sg_status code);

#define SG_TRY(expr)                                                                               \
    do {                                                                                           \
        sg_status st_ = (expr);                                                                    \
        if (st_ != SG_OK) return st_;                                                              \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
