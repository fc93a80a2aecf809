/*
 * clip.c
 *	  Cutting text where a character ends.
 *
 * Called wherever a message quotes text of any length, or an error is kept.  Half
 * a character makes a string that no client and no dump can read.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "model/clip.h"

char *
clip_text(const char *text, int len, int max)
{
	return pnstrdup(text, pg_mbcliplen(text, len, max));
}

char *
clip_string(const char *string, int max)
{
	return clip_text(string, strlen(string), max);
}
