/*
 * parked.c
 *	  Changes that wait for their parent: parking them.  hub/release applies them,
 *	  hub/redrive tries them again or gives them up.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/apply_state.h"
#include "hub/parked.h"
#include "settings.h"
#include "model/field_ladder.h"
#include "storage/parked_change.h"

ParkedChanges *
parked_table(ApplyCall *call)
{
	if (call->waiting == NULL)
		call->waiting = mapped_open_in(call->context, &parked_change_def, call->write);
	return call->waiting;
}

/* ---------- parking ---------- */

/* Does the order of arrival alone tell which of two changes is the newer? */
static bool
ordered_by_arrival(const ApplyItem *item)
{
	return item->change->has_base || !(item->entity->ladder & (RUNG_VERSION | RUNG_FIELD));
}

bool
parked_behind(ApplyCall *call, const ApplyItem *item, int64 id, RecordKey *parent)
{
	const Change *change = item->change;

	/* a version says itself which is the newer, and may overtake */
	return ordered_by_arrival(item) && parked_changes_any(parked_table(call)) &&
		parked_change_ahead(parked_table(call), change->entity, change->external_id, change->source,
							id, &parent->entity, &parent->external_id);
}

/* What makes a row's record is older by its version, and would lose to a part of the row. */
static bool
overtakes_birth(ApplyCall *call, const ApplyItem *item, const Record *record, RecordKey *parent)
{
	const Change *change = item->change;

	return change->from_link && !record->exists && !change->deleted && !change_is_birth(change) &&
		(item->entity->ladder & RUNG_FIELD) == 0 &&
		parked_change_ahead(parked_table(call), change->entity, change->external_id, change->source,
							PG_INT64_MAX, &parent->entity, &parent->external_id);
}

/* Why the change has to wait, and for which parent; NULL: it hasn't. */
static char *
why_waiting(ApplyCall *call, const ApplyItem *item, const Record *record, RecordKey *parent)
{
	if (item->entity->nreferences == 0)
		return NULL;
	if (references_missing(call->references, item, parent))
		return psprintf(item->change->awaited_key != NULL ?
						"waits for %s with key %s, which its source has not sent yet" :
						"waits for %s %s, which has not arrived", parent->entity,
						parent->external_id);
	if (parked_behind(call, item, PG_INT64_MAX, parent) || overtakes_birth(call, item, record, parent))
		return psprintf("waits behind an earlier change of the record, and that for %s %s",
						parent->entity, parent->external_id);
	return NULL;
}

static void
waiting_change(const Change *change, const RecordKey *parent, ParkedChange *w)
{
	TimestampTz now = GetCurrentTimestamp();

	MemSet(w, 0, sizeof(ParkedChange));
	w->entity = change->entity;
	w->external_id = change->external_id;
	w->source = change->source;
	w->parent_entity = parent->entity;
	w->parent_id = parent->external_id;
	w->change = change_parked(change);
	w->parked_at = now;
	w->attempt.next_attempt = now + (int64) setting_waiting_retry * 1000;
}

/* An edit that says on what it was made is another edit each time. */
static bool
parked_already(ParkedChanges *waiting, const Change *change, const ParkedChange *w)
{
	return change->has_version &&
		parked_changes_have(waiting, w->entity, w->external_id, w->source, w->change);
}

/* Park the change, or see only if it could be.  False, and *error: there is no room. */
static bool
park(ApplyCall *call, const Change *change, const RecordKey *parent, ChangeError *error)
{
	ParkedChanges *waiting = parked_table(call);
	ParkedChange w;

	waiting_change(change, parent, &w);
	if (parked_already(waiting, change, &w))
		return true;
	if (!parked_changes_have_room(waiting, &w, setting_max_parked))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send what the changes refer to first; an administrator may raise syncext.max_parked.",
							"%d changes of source \"%s\" wait already, of the record or for %s %s",
							setting_max_parked, w.source, w.parent_entity, w.parent_id);
	if (call->write)
		parked_change_add(waiting, &w);
	return true;
}

bool
parked_is_unheard(ApplyCall *call, const Change *change, const Record *record)
{
	RecordKey	parent;

	return !record->exists && !change->deleted && change->state == NULL && change->recovered == 0 &&
		!change_is_birth(change) &&
		!parked_change_ahead(parked_table(call), change->entity, change->external_id, change->source,
							 PG_INT64_MAX, &parent.entity, &parent.external_id);
}

bool
parked_must_wait(ApplyCall *call, const ApplyItem *item, const Record *record, Answer *answer)
{
	Decision   *d = &answer->decision;
	RecordKey	parent;
	Record		held;
	char	   *reason = why_waiting(call, item, record, &parent);

	if (reason == NULL)
		return false;
	/* who erases the record meanwhile comes before us, or waits and erases what we park, too */
	if (call->write && record->exists)
	{
		(void) canonical_hold(call->canonical, item->change->entity, item->change->external_id, &held);
		record = &held;
	}
	answer->unheard = parked_is_unheard(call, item->change, record);
	answer->refused = !park(call, item->change, &parent, &answer->error);
	field_ladder_let_stand(record, false, reason, d);
	d->status = 409;
	d->resolution = RESOLUTION_DEPENDENCY_WAIT;
	return true;
}

void
parked_remind(ApplyCall *call, const ApplyItem *item, const Record *after)
{
	Change		reminder = *item->change;
	RecordKey	parent;
	ChangeError error;

	if (item->entity->nreferences == 0 || !references_missing(call->references, item, &parent))
		return;
	/* of the record as it is now it sets nothing, and any other one it isn't made on */
	reminder.recovered = 0;
	reminder.created = false;
	reminder.if_absent = true;
	reminder.base = reminder.if_match = after->row_version;
	if (!park(call, &reminder, &parent, &error))
		change_raise(&error);
}
