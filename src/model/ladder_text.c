/*
 * ladder_text.c
 *	  What the reasons of the ladder's answers show of ranks and values.
 */
#include "postgres.h"

#include "model/clip.h"
#include "model/json.h"
#include "model/ladder_state.h"

/* How many bytes of a value a reason shows. */
#define REASON_VALUE	40

char *
ladder_rank_text(int64 rank)
{
	return rank == RANK_NONE ? pstrdup("none") : psprintf(INT64_FORMAT, rank);
}

/* The beginning of the value's JSON text. */
char *
ladder_value_text(const JsonbValue *value)
{
	char	   *text = JsonbToCString(NULL, &json_of_value(value)->root, 0);

	return strlen(text) <= REASON_VALUE ? text : psprintf("%s...", clip_string(text, REASON_VALUE));
}
