/*
 * replay.c
 *	  A record as its changes in the log would have made it.
 *
 * Each change is decided as hub/apply_change does it, by the ladder itself, upon the
 * record that the changes before it have made.  What was made on a row version of the
 * record, as it went, was made on what the replay had when the record came to it.  What a
 * person decided counts where the conflict arises in the replay, too; what waited, was
 * refused or was forbidden by other records did so here, too.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/conflict.h"
#include "hub/limits.h"
#include "hub/replay.h"
#include "hub/resolve.h"
#include "model/format.h"
#include "model/json_read.h"
#include "model/row_version_map.h"

/* With more than so much behind it, the record is copied to a place of its own. */
#define MAX_LITTER	(1024 * 1024)
/* So many conflicts of a record are kept, for what a person says to them. */
#define MAX_CONFLICTS	256

/* A conflict that arose in the replay. */
typedef struct KeptConflict
{
	Conflict	conflict;		/* with its number in the log; 0: it didn't arise there */
	bool		overtaken;		/* in the replay, and ... */
	bool		closed;			/* ... in the log */
} KeptConflict;

typedef struct FieldNote
{
	char	   *field;
	bool		otherwise;		/* the change was decided otherwise than in the log */
	ReplayNote	note;
} FieldNote;

struct Replay
{
	ApplyCall	supposed;		/* with nothing open */
	ApplyCall	today;
	const char *entity;
	TimestampTz since;
	MemoryContext kept;			/* lasts as long as the record is replayed */
	MemoryContext context;		/* of the record as it stands; see clear_litter() */
	const char *external_id;
	Record		record;			/* in the replay */
	bool		begun;			/* the log's record: it has come to life ... */
	bool		gone;			/* ... and was deleted */
	int64		row_version;
	int64		version;
	RowVersionMap versions;
	List	   *conflicts;		/* KeptConflict, oldest first */
	bool		forgot_conflicts;
	List	   *notes;			/* FieldNote */
	FieldNote	whole;			/* of the record as a whole */
	ReplayNote	last;			/* of the last change */
	const char *broken;
};

Replay *
replay_begin(const Registry *registry, const Registry *today, const char *entity,
			 TimestampTz since)
{
	Replay	   *r = palloc0(sizeof(Replay));

	r->supposed.registry = registry;
	r->today.registry = today;
	r->entity = entity;
	r->since = since;
	r->kept = AllocSetContextCreate(CurrentMemoryContext, "syncext replay", ALLOCSET_DEFAULT_SIZES);
	r->context = AllocSetContextCreate(CurrentMemoryContext, "syncext replayed record",
									   ALLOCSET_DEFAULT_SIZES);
	return r;
}

void
replay_end(Replay *r)
{
	MemoryContextDelete(r->kept);
	MemoryContextDelete(r->context);
	pfree(r);
}

void
replay_record(Replay *r, const char *external_id)
{
	MemoryContextReset(r->kept);
	MemoryContextReset(r->context);
	r->external_id = MemoryContextStrdup(r->kept, external_id);
	MemSet(&r->record, 0, sizeof(Record));
	MemSet(&r->versions, 0, sizeof(RowVersionMap));
	MemSet(&r->whole, 0, sizeof(FieldNote));
	MemSet(&r->last, 0, sizeof(ReplayNote));
	r->begun = r->gone = r->forgot_conflicts = false;
	r->row_version = r->version = 0;
	r->conflicts = r->notes = NIL;
	r->broken = NULL;
}

MemoryContext
replay_context(Replay *r)
{
	return r->context;
}

/* ---------- memory ---------- */

/* The record, copied with all that it points to. */
static void
copy_record(Record *record)
{
	Jsonb	   *fields = record_fields_jsonb(record);
	Jsonb	   *stamps = record_stamps_jsonb(record);

	record->last_source = pstrdup(record->last_source);
	if (record->life != NULL)
	{
		Jsonb	   *stored = record_life_jsonb(record);
		Life	   *life = palloc(sizeof(Life));

		(void) life_read(&stored->root, life);
		record->life = life;
	}
	(void) record_set_fields(record, fields, stamps);
}

/* What the changes before have left behind goes. */
static void
clear_litter(Replay *r)
{
	MemoryContext old = r->context;
	MemoryContext caller;

	if (MemoryContextMemAllocated(old, false) < MAX_LITTER || !r->record.exists)
		return;
	r->context = AllocSetContextCreate(MemoryContextGetParent(old), "syncext replayed record",
									   ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(r->context);
	copy_record(&r->record);
	if (r->last.reason != NULL)
		r->last.reason = pstrdup(r->last.reason);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(old);
}

/* ---------- what can't be known ---------- */

static void pg_attribute_printf(2, 3)
break_off(Replay *r, const char *format,...)
{
	MemoryContext caller = MemoryContextSwitchTo(r->kept);
	va_list		args;

	va_start(args, format);
	r->broken = format_va(format, args);
	va_end(args);
	MemoryContextSwitchTo(caller);
}

/* A record comes to life, maybe again, where its tombstone was removed. */
static bool
begin_life(Replay *r, const LoggedRow *row)
{
	if (r->begun && row->row_version <= r->row_version)
		return false;
	if (!r->record.exists || r->record.deleted)
	{
		MemSet(&r->record, 0, sizeof(Record));
		r->record.floor = row->row_version - 1;
	}
	r->begun = true;
	return true;
}

/* Does the row come next in the log?  A row version that is missing was somebody's change. */
static bool
comes_next(Replay *r, const LoggedRow *row)
{
	int64		next = Max(r->row_version + 1, logged_row_number(row, "recovered"));

	if (row->resolution == RESOLUTION_NEW_RECORD)
	{
		if (begin_life(r, row))
			return true;
	}
	else if (r->begun && (row->row_version == r->row_version || row->row_version == next))
		return true;
	if (r->begun)
		break_off(r, "the log has nothing between row versions " INT64_FORMAT " and " INT64_FORMAT,
				  r->row_version, row->row_version);
	else
		break_off(r, "the log begins at row version " INT64_FORMAT, row->row_version);
	return false;
}

/* ---------- why ---------- */

static FieldNote *
find_note(const Replay *r, const char *field, int len)
{
	foreach_ptr(FieldNote, note, r->notes)
		if ((int) strlen(note->field) == len && memcmp(note->field, field, len) == 0)
			return note;
	return NULL;
}

/* What was decided otherwise says more than what wasn't. */
static void
set_note(Replay *r, FieldNote *note, bool otherwise, const Decision *d)
{
	if (note->otherwise && !otherwise)
		return;
	if (note->note.reason != NULL)
		pfree(unconstify(char *, note->note.reason));
	note->otherwise = otherwise;
	note->note.resolution = resolution_name(d->resolution);
	note->note.reason = MemoryContextStrdup(r->kept, d->reason);
}

static void
note_field(Replay *r, FieldName field, bool otherwise, const Decision *d)
{
	FieldNote  *note = find_note(r, field.data, field.len);

	if (note == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(r->kept);

		note = palloc0(sizeof(FieldNote));
		note->field = field_name_cstring(field);
		r->notes = lappend(r->notes, note);
		MemoryContextSwitchTo(caller);
	}
	set_note(r, note, otherwise, d);
}

/* Of fields that a rule decides the log doesn't say which value they got. */
static void
note_decision(Replay *r, const LoggedRow *row, const Change *change, const Decision *d)
{
	bool		by_rule = d->resolution == RESOLUTION_FIELD_RULE;
	bool		otherwise = d->resolution != row->resolution;
	Fields		named = change_named(change);

	r->last.resolution = resolution_name(d->resolution);
	r->last.reason = d->reason;
	for (int i = 0; i < named.n; i++)
	{
		FieldName	name = named.field[i].name;
		bool		lost = d->lost_all || field_names_has(&d->lost, name);
		bool		differs = otherwise || lost != logged_row_lost(row, name);

		if (differs || by_rule)
			note_field(r, name, differs, d);
	}
	if (otherwise)
		set_note(r, &r->whole, true, d);
}

ReplayNote
replay_note(const Replay *r, FieldName field)
{
	const FieldNote *note = field.data == NULL ? NULL : find_note(r, field.data, field.len);

	if (note != NULL && note->otherwise)
		return note->note;
	if (r->whole.otherwise)
		return r->whole.note;
	return note != NULL ? note->note : r->last;
}

/* ---------- conflicts ---------- */

static KeptConflict *
find_conflict(const Replay *r, int64 id)
{
	foreach_ptr(KeptConflict, kept, r->conflicts)
		if (kept->conflict.id == id)
			return kept;
	return NULL;
}

/* The conflict that is pending here and says just the same; NULL: there is none. */
static KeptConflict *
find_same(const Replay *r, const Change *change)
{
	Jsonb	   *incoming = change_fields_jsonb(change);

	foreach_ptr(KeptConflict, kept, r->conflicts)
	{
		const Conflict *conflict = &kept->conflict;

		if (!kept->overtaken && conflict->version == r->record.version &&
			conflict->incoming_deleted == change->deleted &&
			strcmp(conflict->source, change->source) == 0 &&
			compareJsonbContainers(&conflict->incoming->root, &incoming->root) == 0)
			return kept;
	}
	return NULL;
}

static void
free_conflict(KeptConflict *kept)
{
	pfree(kept->conflict.incoming);
	pfree(kept->conflict.incoming_detail);
	pfree(kept);
}

/* Of those that nobody can decide, as the log hasn't got them, the overtaken ones go. */
static void
make_room(Replay *r)
{
	KeptConflict *oldest;
	ListCell   *lc;

	foreach(lc, r->conflicts)
	{
		KeptConflict *kept = lfirst(lc);

		if (!kept->overtaken || kept->conflict.id != 0)
			continue;
		r->conflicts = foreach_delete_current(r->conflicts, lc);
		free_conflict(kept);
	}
	if (list_length(r->conflicts) < MAX_CONFLICTS)
		return;
	oldest = linitial(r->conflicts);
	r->forgot_conflicts |= oldest->conflict.id != 0;
	r->conflicts = list_delete_first(r->conflicts);
	free_conflict(oldest);
}

/* A conflict arises in the replay; id: its number in the log, where it arises there, too. */
static void
keep_conflict(Replay *r, int64 id, const Change *change, const Decision *d)
{
	MemoryContext caller = MemoryContextSwitchTo(r->kept);
	KeptConflict *kept = palloc0(sizeof(KeptConflict));

	make_room(r);
	conflict_make(change, &r->record, d, &kept->conflict);
	kept->conflict.id = id;
	kept->conflict.source = pstrdup(change->source);
	kept->conflict.fields = field_names_copy(&d->contested);
	r->conflicts = lappend(r->conflicts, kept);
	MemoryContextSwitchTo(caller);
}

/* What the change closes: in the replay, and in the log. */
static void
close_conflicts(Replay *r, const LoggedRow *row, const Change *change, const Decision *d)
{
	JsonbContainer *closes;

	if (r->conflicts == NIL)
		return;
	foreach_ptr(KeptConflict, other, r->conflicts)
		other->overtaken |= conflict_overtaken(&other->conflict, change, &r->record, d);
	closes = json_read_array(logged_row_member(row, "closes"));
	for (int i = 0; closes != NULL && i < (int) JsonContainerSize(closes); i++)
	{
		int64		id;
		KeptConflict *kept = NULL;

		if (json_read_number(getIthJsonbValueFromContainer(closes, i), 1, PG_INT64_MAX, &id))
			kept = find_conflict(r, id);
		if (kept != NULL)
			kept->closed = true;
	}
}

/* ---------- changes ---------- */

/* What is in force when the row was logged. */
static ApplyCall *
call_of(Replay *r, const LoggedRow *row)
{
	return row->recorded_at < r->since ? &r->today : &r->supposed;
}

/* The record is what the decision makes of it. */
static void
take(Replay *r, const LoggedRow *row, const Decision *d)
{
	if (d->write != WRITE_NOTHING)
		r->record = d->after;
	if (row->recorded_at < r->since &&
		(d->resolution != row->resolution || r->record.row_version != row->row_version))
		break_off(r, "before since it was decided otherwise than it would be today: %s at row version " INT64_FORMAT,
				  resolution_name(row->resolution), row->row_version);
}

/* A change that goes beyond a limit is refused. */
static void
refuse(const Record *record, const ChangeError *error, Decision *d)
{
	MemSet(d, 0, sizeof(Decision));
	d->after = *record;
	d->lost_all = true;
	d->resolution = RESOLUTION_PRECONDITION_FAILED;
	d->reason = error->message;
}

/* Decide the change upon the record; false: there is nothing of it to decide. */
static bool
decide(Replay *r, ApplyCall *call, ApplyItem *item, Change *change, Decision *d)
{
	ChangeError error;
	Counted    *counted = palloc(sizeof(Counted));

	if (!ladder_check_change(item->entity->ladder, change, &error) ||
		!field_rules_check_increments(&item->entity->field_rules, change, &error))
	{
		break_off(r, "a change of source \"%s\": %s", change->source, error.message);
		return false;
	}
	/* the record had all of it, and so it was left out of the log, too */
	if (change->if_absent && change->fields.n == 0)
		return false;
	if (change->recovered > 0)
		r->record.floor = Max(r->record.floor, change->recovered - 1);
	item->change = change_as_it_counts(field_rules_tell(&item->entity->field_rules, change, &counted->told),
									   &counted->said);
	apply_decide_by_rules(call, item, &r->record, d);
	if (d->refused != NULL)
		(void) change_error(&error, ERRCODE_SYNC_BAD_DOCUMENT, NULL, "%s", d->refused);
	if (d->refused != NULL || !limits_version(item->change, &r->record, &error) ||
		!limits_record(item->change, &r->record, d, &error))
		refuse(&r->record, &error, d);
	return true;
}

/* The conflicts that the decision closes and adds; one that says the same again does neither. */
static void
settle_conflicts(Replay *r, const LoggedRow *row, const Change *change, const Decision *d)
{
	bool		manual = d->resolution == RESOLUTION_MANUAL;
	int64		id = row->resolution == RESOLUTION_MANUAL ? logged_row_number(row, "conflictId") : 0;
	KeptConflict *same = manual ? find_same(r, change) : NULL;

	if (same != NULL && id != 0)
		same->conflict.id = id;
	if (same != NULL)
		return;
	close_conflicts(r, row, change, d);
	if (manual)
		keep_conflict(r, id, change, d);
}

static void
replay_change(Replay *r, const LoggedRow *row)
{
	ApplyCall  *call = call_of(r, row);
	ApplyItem	item = {
		.source = registry_source(call->registry, row->source),
		.entity = registry_entity(call->registry, r->entity)
	};
	Change	   *change = palloc(sizeof(Change));
	const char *wrong = logged_change_read(row, r->entity, r->external_id, change);
	Decision	d;

	if (wrong != NULL)
		break_off(r, "row " INT64_FORMAT " of the log %s", row->seq, wrong);
	else if (change->has_base && !row_version_map_find(&r->versions, change->base, &change->base))
		break_off(r, "it has had too many changes since row version " INT64_FORMAT ", which an edit was made on",
				  change->base);
	if (r->broken != NULL || !decide(r, call, &item, change, &d))
		return;
	settle_conflicts(r, row, item.change, &d);
	note_decision(r, row, item.change, &d);
	take(r, row, &d);
}

/* ---------- what people decided ---------- */

static void
replay_verdict(Replay *r, const LoggedRow *row, KeptConflict *kept)
{
	const char *name = json_read_string(logged_row_member(row, "decision"));
	bool		asked = !kept->overtaken || kept->closed;
	Change	   *change = palloc(sizeof(Change));
	Decision	d;

	kept->closed = true;
	if (name == NULL)
	{
		break_off(r, "row " INT64_FORMAT " of the log has no decision", row->seq);
		return;
	}
	if (!asked || verdict_stands(verdict_by_name(name)))
		return;
	verdict_decide(call_of(r, row), name, row->fields, &kept->conflict, &r->record, change, &d);
	if (d.resolution == RESOLUTION_MANUAL)
		return;
	d.resolution = RESOLUTION_RESOLVED;
	d.reason = psprintf("a reviewer decided %s", name);
	close_conflicts(r, row, change, &d);
	note_decision(r, row, change, &d);
	take(r, row, &d);
}

static void
replay_resolved(Replay *r, const LoggedRow *row)
{
	int64		id = logged_row_number(row, "conflictId");
	KeptConflict *kept = find_conflict(r, id);

	if (logged_row_member(row, "versionWas") != NULL)
	{
		if (r->record.exists)
			record_set_version(&r->record, row->version);
	}
	else if (logged_row_member(row, "split") != NULL)
		break_off(r, "a part of it was split off");
	else if (kept != NULL)
		replay_verdict(r, row, kept);
	else if (r->forgot_conflicts)
		break_off(r, "it has had too many conflicts since conflict " INT64_FORMAT ", which was decided", id);
}

/* ---------- rows ---------- */

/* Does the row tell of the record, and not of something that waits or was given up? */
static bool
is_of_record(const LoggedRow *row)
{
	switch (row->resolution)
	{
		case RESOLUTION_DEPENDENCY_WAIT:
		case RESOLUTION_RESTRICTED:
		case RESOLUTION_KEY_CONFLICT:
		case RESOLUTION_PRECONDITION_FAILED:
		case RESOLUTION_CAPTURED:
			return false;
		case RESOLUTION_DISMISSED:
			return logged_row_member(row, "discarded") == NULL;
		default:
			return true;
	}
}

static void
replay_decided(Replay *r, const LoggedRow *row)
{
	KeptConflict *kept;

	switch (row->resolution)
	{
		case RESOLUTION_SUPERSEDED:
			break;
		case RESOLUTION_DISMISSED:
			kept = find_conflict(r, logged_row_number(row, "conflictId"));
			if (kept != NULL)
				kept->closed = true;
			break;
		case RESOLUTION_RESOLVED:
			replay_resolved(r, row);
			break;
		default:
			replay_change(r, row);
	}
}

/* The log's record has come to this. */
static void
advance(Replay *r, const LoggedRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(r->kept);

	if (row->row_version > r->row_version)
	{
		row_version_map_add(&r->versions, row->row_version, r->record.exists ? r->record.row_version : 0);
		if (logged_row_member(row, "versionWas") == NULL)
			r->gone = json_read_true(logged_row_member(row, "deleted"));
	}
	r->row_version = row->row_version;
	r->version = row->version;
	MemoryContextSwitchTo(caller);
}

void
replay_row(Replay *r, LoggedRow *row)
{
	MemoryContext caller;

	if (r->broken != NULL)
		return;
	caller = MemoryContextSwitchTo(r->context);
	row->details = fields_of(row->detail != NULL && JB_ROOT_IS_OBJECT(row->detail) ? row->detail : NULL);
	if (is_of_record(row) && comes_next(r, row))
	{
		replay_decided(r, row);
		advance(r, row);
	}
	MemoryContextSwitchTo(caller);
	clear_litter(r);
}

const char *
replay_result(Replay *r, const Record *now, Record *then)
{
	bool		lives = r->record.exists && !r->record.deleted;

	*then = r->record;
	if (r->broken == NULL && !r->begun && now->exists)
		break_off(r, "the log has nothing of it");
	else if (r->broken == NULL && now->exists &&
			 (now->row_version != r->row_version || now->version != r->version))
		break_off(r, "the log ends at row version " INT64_FORMAT " and version " INT64_FORMAT
				  ", the record has " INT64_FORMAT " and " INT64_FORMAT,
				  r->row_version, r->version, now->row_version, now->version);
	else if (r->broken == NULL && !now->exists && lives && !r->gone)
		break_off(r, "it was removed, which is not in the log");
	return r->broken;
}
