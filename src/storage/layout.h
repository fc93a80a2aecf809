/*
 * layout.h
 *	  Where the columns that we know stand in a table of ours.
 */
#ifndef SYNCEXT_LAYOUT_H
#define SYNCEXT_LAYOUT_H

#include "utils/rel.h"

#include "storage/shapes.h"

typedef struct TableLayout
{
	const TableShape *shape;
	bool		plain;			/* nothing was added, and all stand where they were made */
	AttrNumber	attnum[MAX_COLUMNS];
	Bitmapset  *updatable;		/* all columns but those of the primary key, as the executor numbers them */
} TableLayout;

/*
 * The layout of a table of ours that is open and locked.  Raises if it isn't
 * ours, or lacks a column or has one of another type.
 */
extern const TableLayout *layout_of(Relation rel);
/* Raises if an index isn't one that a scan can go by. */
extern void layout_check_index(const TableLayout *layout, Relation index);
/* Raises for a column, from 1, that is null and can't be. */
extern void layout_refuse_null(const TableLayout *layout, int column);

/*
 * Take a row apart: values and isnull get an element for each column of the shape, by
 * their numbers, so that they have one before the first.  None that can't be is null.
 */
extern void layout_deform(const TableLayout *layout, TupleDesc desc, HeapTuple tuple,
						  Datum *values, bool *isnull);

#endif							/* SYNCEXT_LAYOUT_H */
