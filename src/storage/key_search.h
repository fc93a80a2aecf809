/*
 * key_search.h
 *	  Searching a btree index of ours for a key without a scan.
 */
#ifndef SYNCEXT_KEY_SEARCH_H
#define SYNCEXT_KEY_SEARCH_H

#include "storage/block.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

#define KEY_SEARCH_MAX_COLUMNS	5
/* So many places of one key can be told: versions of a row that VACUUM has not removed yet. */
#define KEY_SEARCH_MAX_PLACES	16

/* How a column is compared. */
typedef enum KeyKind
{
	KEY_BYTES,					/* text COLLATE "C" */
	KEY_INT8,
	KEY_INT4,
	KEY_OID
} KeyKind;

typedef struct KeySearch
{
	Relation	table;
	Relation	index;
	int			ncolumns;		/* that can be compared, of the leading ones; 0: none */
	KeyKind		kind[KEY_SEARCH_MAX_COLUMNS];
	BlockNumber leaf;			/* where the last search has ended */
} KeySearch;

extern void key_search_init(KeySearch *search, Relation table, Relation index);

/*
 * Where the index has the rows whose first nkeys columns are these: their number, 0: it
 * has none; KEY_SEARCH_UNKNOWN: a scan has to find out.  Must not be asked in a
 * SERIALIZABLE transaction, whose scans leave predicate locks.
 *
 * As of a snapshot that was taken before, the index has every row that can be seen;
 * whether one can the caller finds out at its place.
 */
#define KEY_SEARCH_UNKNOWN	(-1)
extern int	key_search(KeySearch *search, int nkeys, const Datum *keys, ItemPointerData *places);

#endif							/* SYNCEXT_KEY_SEARCH_H */
