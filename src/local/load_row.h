/*
 * load_row.h
 *	  A row of an attached relation, and the record of the same external id, when the
 *	  relation is loaded.
 */
#ifndef SYNCEXT_LOAD_ROW_H
#define SYNCEXT_LOAD_ROW_H

#include "local/load_details.h"
#include "local/item_batch.h"

typedef enum LoadWinner
{
	WINNER_LADDER,
	WINNER_HUB,
	WINNER_TABLE
} LoadWinner;

/* What became of a row. */
typedef enum LoadOutcome
{
	LOAD_GONE,					/* deleted before we came to it */
	LOAD_NEW,
	LOAD_UPDATED,
	LOAD_EQUAL,
	LOAD_CONFLICT,
	LOAD_WAITING,
	LOAD_DELIVERED,
	LOAD_NOT_SHOWN,				/* it was sent, perhaps, and what came of it isn't told */
	LOAD_NOUTCOMES
} LoadOutcome;

/* What the functions below are given as their argument. */
typedef struct LoadRows
{
	LoadWinner	winner;
	MemoryContext context;		/* of a batch */
	LoadDetails *details;
	int64		count[LOAD_NOUTCOMES];
} LoadRows;

/* Begin a batch of so many items in the current memory context. */
extern void load_rows_begin(LoadRows *rows, BatchItem *items, int n);
/* Count what came of an item that was done. */
extern void load_rows_count(LoadRows *rows, const BatchItem *item);

/* BatchItemFunctions: a row of the relation, its hub being here or behind a link. */
extern int	load_row(RowWriter *writer, Attached *attached, BatchItem *item, void *arg);
extern int	load_linked_row(RowWriter *writer, Attached *attached, BatchItem *item, void *arg);
/* A row, or one that is missing, as agreed on with the hub behind the link, which wins. */
extern int	load_agreed(RowWriter *writer, Attached *attached, BatchItem *item, void *arg);
extern int	load_missing(RowWriter *writer, Attached *attached, BatchItem *item, void *arg);
/* A record of the hub, on its way to the relation. */
extern int	load_record(RowWriter *writer, Attached *attached, BatchItem *item, void *arg);

#endif							/* SYNCEXT_LOAD_ROW_H */
