/*
 * side.h
 *	  What is at this end of a link: the tables of its source, or this hub as a whole.
 *
 * The exchange is the same for both.  What is sent, where records go and what is known
 * of the other side is not.
 */
#ifndef SYNCEXT_SIDE_H
#define SYNCEXT_SIDE_H

#include "nodes/pg_list.h"

#include "hub/outbox.h"
#include "local/rebase.h"
#include "local/spoke_tables.h"

/* What is agreed on with the hub of a record, as far as a resync asks. */
typedef struct AgreedVersion
{
	char	   *external_id;
	int64		row_version;	/* the newest that was seen here; 0: none */
	bool		contested;		/* that says nothing of whether the hub has lost it */
} AgreedVersion;

/* Each function is called in a transaction. */
typedef struct SpokeSide
{
	/* Is there anything to put records into? */
	bool		(*takes_records) (const char *source);
	/* Put edits that failed, and are due again, into the next batch. */
	void		(*retry) (const char *source);
	/* Cut the next batch, or the one that is out again: see outbox_cut(). */
	void		(*cut) (const char *source, int max, Size max_bytes, OutboxBatch *batch);
	/* Cut the one behind that: see outbox_cut_ahead(); NULL: that can't be. */
	bool		(*cut_ahead) (const char *source, int max, Size max_bytes, OutboxBatch *batch);
	/*
	 * Note what the hub said to each change of the batch, and that it is done; returns
	 * whether the next one, that was cut ahead or is NULL, is out now.
	 */
	bool		(*answered) (const char *source, const OutboxBatch *batch,
							 const PushedAnswer *answers, const OutboxBatch *next);
	/*
	 * Give rows of records that were merged at the hub to those that they are a part of; NULL:
	 * there are none.
	 */
	void		(*take_rows) (const char *source, PulledRecord *records, int n);
	/* Write records that were pulled; what became of each is noted in it. */
	void		(*place) (const char *source, PulledRecord *records, int n);

	/* A resync.  The entities (char *) in which something may be agreed on. */
	List	   *(*entities) (const char *source);
	/*
	 * Read what is agreed on of up to max records, by id, from after one (NULL: the first);
	 * fewer where their fields have so many bytes.
	 */
	int			(*read_agreed) (const char *source, const char *entity, const char *after,
								int max, Size max_bytes, AgreedVersion *versions);
	/* What the hub can have again as it was; false: nothing. */
	bool		(*recover) (const char *source, const LostRecord *lost, Recovery *recovery);
	/* Note what the hub has of records now; false if some were busy: call it again. */
	bool		(*rebase) (const char *source, LostRecord *records, int n, bool ours,
						   Rebased *result);
	/* That was done for all of them: because we had gone back, or because the hub had. */
	void		(*rebased) (const char *source, const char *link, bool ours);
} SpokeSide;

/* spoke_hub.c has the other one. */
extern const SpokeSide spoke_tables_side;

#endif							/* SYNCEXT_SIDE_H */
