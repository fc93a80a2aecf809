/*
 * rebase.c
 *	  Rows of relations behind a link whose hub has gone back in time: what it has
 *	  lost of them is sent to it again.
 *
 * Called by link/resync.  The hub has said what it has of the record now, and up to
 * which row version that is what we knew.  That is what is agreed on from now on; what
 * the row holds beside it, its own edits and those of others that the hub had
 * delivered once, is an edit made on that row version, which the hub decides as any
 * other.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "local/linked.h"
#include "local/rebase.h"
#include "local/work.h"
#include "model/fields.h"
#include "model/json.h"
#include "model/json_read.h"
#include "storage/capture_failure.h"
#include "storage/replica.h"

/* What comes of a row. */
typedef enum RebaseOutcome
{
	REBASE_KNOWN,				/* it was done before, or the row is gone */
	REBASE_EQUAL,				/* the row holds nothing else than the hub has */
	REBASE_CAPTURED,
	REBASE_PLACED,				/* nothing is sent from it: the hub's is placed again */
	REBASE_STRANDED				/* the hub has nothing to place */
} RebaseOutcome;

static int64
number_of(const Field *field)
{
	int64		number;

	return json_read_number(&field->value, 0, PG_INT64_MAX, &number) ? number : 0;
}

Jsonb *
rebase_held(const LostRecord *lost, Jsonb *held)
{
	JsonbParseState *state = NULL;
	Fields		fields;

	if (held == NULL)
		return NULL;
	fields_from_container(&held->root, &fields);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < fields.n; i++)
		json_push_number(&state, field_name_cstring(fields.field[i].name),
						 Min(number_of(&fields.field[i]), lost->base));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Nothing of it goes to the hub: what that has comes over what is here. */
static int
yield_row(Placer *placer, Placement *p, const LostRecord *lost)
{
	p->replica.row_version = 0;
	replica_set(placer->replica, p->attached->binding->relation, p->external_id, &p->replica);
	return lost->present ? REBASE_PLACED : REBASE_STRANDED;
}

/* Was it done before? */
static bool
is_rebased(const ReplicaRow *replica, const LostRecord *lost)
{
	return !replica->contested && replica->held == NULL &&
		replica_seen(replica->row_version, replica->answered,
					 replica->fields != NULL) <= lost->base;
}

/*
 * The hub has no record of a row that we knew it to have: it was deleted there longer
 * ago than is remembered, or the hub has lost it.  That isn't for us to decide.
 */
static int
strand_row(Placer *placer, Placement *p)
{
	CaptureFailures *failures;
	CaptureFailure failure = {
		.relation = p->attached->binding->relation,
		.external_id = p->external_id,
		.attempts = 1,
		.dead = true,
		.since = GetCurrentTimestamp(),
		.next_attempt = GetCurrentTimestamp(),
		.error = "this database has gone back in time, and the hub has no record of the row: it may have been deleted there; delete the row, or send it again with sync_redrive"
	};

	if (p->replica.fields == NULL || !p->present)
		return REBASE_KNOWN;
	p->replica.fields = p->replica.held = p->replica.cascaded = NULL;
	p->replica.row_version = p->replica.answered = p->replica.adjusted = 0;
	p->replica.contested = false;
	p->replica.gone_at = GetCurrentTimestamp();
	replica_set(placer->replica, p->attached->binding->relation, p->external_id, &p->replica);
	failures = capture_failures_open(true);
	capture_failure_save(failures, &failure);
	capture_failures_close(failures);
	return REBASE_STRANDED;
}

static int
rebase_row(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	const LostRecord *lost = item->data;
	ReplicaRow *replica;
	Placement	p;

	if (!place_lock_row(placer, attached, item->external_id, &p))
	{
		item->busy = true;
		return REBASE_KNOWN;
	}
	replica = &p.replica;
	if (*(bool *) arg)
		return lost->present ? REBASE_KNOWN : strand_row(placer, &p);
	if (!replica->exists || is_rebased(replica, lost))
		return REBASE_KNOWN;
	replica->answered = replica->adjusted = 0;
	replica->held = rebase_held(lost, replica->held);
	replica->cascaded = NULL;
	replica->contested = false;
	if (!attached->binding->in)
		return yield_row(placer, &p, lost);
	replica->fields = lost->present && !lost->deleted ?
		rebase_fields(lost, replica->fields, replica->row_version) : NULL;
	replica->row_version = Min(replica->row_version, lost->base);
	if (replica->fields != NULL)
		replica->gone_at = 0;
	else if (replica->gone_at == 0)
		replica->gone_at = GetCurrentTimestamp();
	replica_set(placer->replica, attached->binding->relation, item->external_id, replica);
	return linked_capture(&p, true) ? REBASE_CAPTURED : REBASE_EQUAL;
}

/* Is the hub's value of the field one that we need not have, or may not? */
static bool
is_kept(const LostRecord *lost, FieldName name, int64 row_version)
{
	const Field *stamp = fields_find(&lost->stamps, name);

	return fields_find(&lost->withheld, name) != NULL ||
		(stamp != NULL && number_of(stamp) > row_version);
}

Jsonb *
rebase_fields(const LostRecord *lost, Jsonb *before, int64 row_version)
{
	LinkedRecord now = {.whole = true, .fields = lost->fields, .withheld = lost->withheld};
	Fields		hub = linked_fields(&now, before);
	Fields		known = {0, NULL};
	Fields		agreed;

	if (before != NULL)
		fields_from_container(&before->root, &known);
	agreed.n = 0;
	agreed.field = palloc(sizeof(Field) * (hub.n + known.n + 1));
	/* both are in jsonb's key order */
	for (int i = 0, j = 0; i < hub.n || j < known.n;)
	{
		int			cmp = i == hub.n ? 1 : j == known.n ? -1 :
			field_name_cmp(hub.field[i].name, known.field[j].name);
		bool		kept = is_kept(lost, cmp <= 0 ? hub.field[i].name : known.field[j].name,
								   row_version);

		if (cmp <= 0 && !kept)
			agreed.field[agreed.n++] = hub.field[i];
		else if (cmp >= 0 && kept)
			agreed.field[agreed.n++] = known.field[j];
		i += cmp <= 0;
		j += cmp >= 0;
	}
	return fields_to_jsonb(&agreed);
}

bool
rebase_rows(const char *source, LostRecord *records, int n, bool ours, Rebased *result)
{
	WorkItem   *items = palloc0(sizeof(WorkItem) * Max(n, 1));
	int			nitems = 0;
	bool		all = true;

	for (int i = 0; i < n; i++)
	{
		const Binding *binding = binding_of_entity(source, records[i].entity);

		if (binding == NULL || !binding_stands(binding))
			continue;
		work_item(&items[nitems], binding, true, records[i].external_id);
		items[nitems++].data = &records[i];
	}
	if (nitems > 0)
		work_through(registry_get(), items, nitems, rebase_row, &ours);
	for (int i = 0; i < nitems; i++)
	{
		/* what the table's own code says to it matters when it is placed */
		if (work_error(&items[i]) != NULL)
			all = false;
		else if (items[i].outcome == REBASE_CAPTURED)
			result->resent++;
		else if (items[i].outcome == REBASE_STRANDED)
			result->stranded++;
		if (items[i].error != NULL && result->error == NULL)
			result->error = pstrdup(items[i].error);
	}
	return all;
}
