/* One message, however it was written, as tokens with single spaces between them: what is trained
 * on, served and exported alike. The rules are told with examples in docs/text.md; in short, and in
 * this order:
 *
 *   bytes         what is not UTF-8, and NUL       ->  U+FFFD for each bad sequence
 *   escapes       don\u2019t  a\nb  say \"hi\"     ->  don't   a b   say " hi "
 *   entities      &amp;lt;3  &#39;  &#x1F602;      ->  <3   '   (U+1F602)
 *   quotes        curly quotes, dashes             ->  ' " -
 *   invisible     control characters               ->  a space; zero-width ones go
 *   NFKC          (fullwidth) ABC, an ellipsis     ->  abc   ...
 *   links         https://t.co/x  www.a.org        ->  http   http
 *   users         @Anna_1                          ->  @user
 *   hashtags      #HappyBirthday                   ->  #happybirthday happy birthday
 *   emoticons     :-)  =(  :))))  <333             ->  :)   :(   :))   <3
 *   emoji         one token each; skin tones, variation selectors and joiners go
 *   words         Soooooo GOOD, isn't it?          ->  sooo good , isn't it ?
 *   numbers       1,000.50 at 10:30                ->  1,000.50 at 10:30
 *   punctuation   wow!!!!! ?!                      ->  wow !!! ? !
 *
 * Cleaning what is clean changes nothing. The answer depends on the bytes alone, never on the
 * locale; on the version of Unicode that libutf8proc knows only for code points that an older one
 * does not know. */
#ifndef SG_DATA_TEXT_CLEAN_H
#define SG_DATA_TEXT_CLEAN_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Changes with any change of an answer: what was trained on other tokens must not be used with
 * these. tests/data/text_clean.txt holds answers of this version. */
#define SG_TEXT_CLEAN_VERSION 1

/* Where a cleaned message is put; begins as {0} and may be used for one message after another,
 * which then allocates nothing once it has seen the longest. For one thread at a time. */
typedef struct {
    char *data; /* (bytes), a NUL behind it; NULL before the first message */
    size_t bytes;
    int64_t tokens;  /* 0: nothing was left */
    int64_t invalid; /* sequences that were no UTF-8, and NULs, in the message */
    /* private */
    size_t capacity;
    int32_t *points;
    size_t n_points, point_capacity;
} sg_text;

/* `message` holds any bytes; one that is empty or blank gives an empty text. Takes time and memory
 * that grow with `bytes` alone. Fails with SG_ERR_OOM only; the text is then empty. */
sg_status sg_text_clean(const char *message, size_t bytes, sg_text *out) SG_CHECKED;

void sg_text_clear(sg_text *text);

#ifdef __cplusplus
}
#endif
#endif
