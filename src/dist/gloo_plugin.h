/* What the plug-in around Gloo, libspotgrad_gloo.so, shows of itself: one symbol. It needs nothing
 * of the program, so that any program can load it: what went wrong it tells as text. C11, C++17. */
#ifndef SG_DIST_GLOO_PLUGIN_H
#define SG_DIST_GLOO_PLUGIN_H

#include "dist/transport.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_gloo sg_gloo;

/* `why` gets the text of a failure; it stays empty where that of say or hear, whose status is then
 * passed on, is this thread's last error already. No exception comes out of any of these. */
typedef struct {
    const char *version; /* SG_GLOO_VERSION where it was built; first of all, for ever */
    /* Arguments have been checked, and `interface` is an address. */
    sg_status (*create)(const sg_transport_options *options, sg_gloo **out, char *why,
                        size_t bytes);
    sg_status (*exchange)(sg_gloo *t, const sg_transfer *message, int n, double seconds, char *why,
                          size_t bytes);
    void (*abort)(sg_gloo *t);
    void (*destroy)(sg_gloo *t);
} sg_gloo_plugin;

/* The program's version and that of this interface: transport.h and what it includes. */
#define SG_GLOO_VERSION SPOTGRAD_VERSION " (gloo interface 2)"
#define SG_GLOO_SYMBOL  "sg_gloo_functions"

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const sg_gloo_plugin sg_gloo_functions;

#ifdef __cplusplus
}
#endif
#endif
