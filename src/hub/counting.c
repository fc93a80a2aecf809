/*
 * counting.c
 *	  Increments of a spoke's tables: what its totals have more than is known.
 *
 * A link sends how much a table has added to a record in all.  So what is sent again,
 * after a crash or after either side has gone back in time, is added once.
 */
#include "postgres.h"

#include "errcodes.h"
#include "hub/counting.h"
#include "storage/counted.h"

bool
counting_take(Change *change, Counts *known, ChangeError *error)
{
	Jsonb	   *stored = counted_find(change->source, change->entity, change->external_id);
	Counts		sent;
	char	   *why;

	if (!counts_read(stored == NULL ? NULL : &stored->root, known))
		MemSet(known, 0, sizeof(Counts));
	if (!counts_read(&change->counted->root, &sent))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, "Only links send it.",
							"key \"counted\" is no totals of counters");
	why = counts_take(known, &sent, &change->increments);
	if (why != NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, NULL, "%s", why);
	/* the record has all that already, as the spoke knows */
	if (change->baseline)
		change->increments.n = 0;
	return true;
}

void
counting_keep(const Change *change, const Counts *known)
{
	counted_save(change->source, change->entity, change->external_id, counts_jsonb(known));
}
