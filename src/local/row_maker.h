/*
 * row_maker.h
 *	  Making a row of an attached relation of JSON, column by column.
 */
#ifndef SYNCEXT_ROW_MAKER_H
#define SYNCEXT_ROW_MAKER_H

#include "local/attached_relation.h"

typedef struct RowMaker
{
	Attached   *attached;
	AttachedRow row;
	ValueSettings input;
	JsonbParseState *rest;		/* an object of the columns that wait for row_maker_end; or NULL */
} RowMaker;

/* Between these two what the text of a value means depends on no setting. */
extern void row_maker_begin(RowMaker *maker, Attached *attached);
/* Set a column; what none is set to is null. */
extern void row_maker_set(RowMaker *maker, const AttachedColumn *column, JsonbValue *json);
extern void row_maker_set_text(RowMaker *maker, const AttachedColumn *column, const char *text);
/* Set it to what it is in another row. */
extern void row_maker_copy(RowMaker *maker, const AttachedColumn *column, AttachedRow from);
extern void row_maker_set_number(RowMaker *maker, const AttachedColumn *column, int64 number);
extern AttachedRow row_maker_end(RowMaker *maker);

#endif							/* SYNCEXT_ROW_MAKER_H */
