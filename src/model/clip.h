/*
 * clip.h
 *	  Cutting text where a character ends.
 */
#ifndef SYNCEXT_CLIP_H
#define SYNCEXT_CLIP_H

/* What is kept of an error's message, in bytes. */
#define CLIP_ERROR		1000
/* What a message quotes of a text that was sent, in bytes. */
#define CLIP_QUOTE		64

/* A copy of the text's first max bytes at most, that ends with a whole character. */
extern char *clip_text(const char *text, int len, int max);
/* Like clip_text(), of a string. */
extern char *clip_string(const char *string, int max);

#endif							/* SYNCEXT_CLIP_H */
