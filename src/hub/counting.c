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

/* Or were they once?  Of what was none no totals are kept: they would be without end. */
static bool
are_of_counters(const FieldRules *rules, const Change *change, const Counts *known,
				const Counts *sent, ChangeError *error)
{
	Change		adds = *change;
	Field		field = {.value.type = jbvNull};

	adds.increments = (Fields) {1, &field};
	for (int i = 0; i < sent->n; i++)
	{
		field.name = sent->count[i].field;
		if (!field_rules_sum(rules, field.name) && !counts_of_field(known, field.name) &&
			!field_rules_check_increments(rules, &adds, error))
			return false;
	}
	return true;
}

bool
counting_take(const FieldRules *rules, Change *change, Counts *known, ChangeError *error)
{
	Jsonb	   *stored = counted_find(change->source, change->entity, change->external_id);
	Counts		sent;
	char	   *why;

	if (stored == NULL)
		stored = counted_find_erased(change->source, change->entity, change->external_id);
	if (!counts_read(stored == NULL ? NULL : &stored->root, known))
		MemSet(known, 0, sizeof(Counts));
	if (!counts_read(&change->counted->root, &sent))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, "Only links send it.",
							"key \"counted\" is no totals of counters");
	if (!are_of_counters(rules, change, known, &sent, error))
		return false;
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
