/*
 * capture_buffer.c
 *	  Edits of relations whose entity is decided behind a link, until their
 *	  transaction commits.
 *
 * Called by local/capture and local/linked.  An edit becomes a CAPTURED row of
 * the change log, which is due to the edit's own source: the hub behind the
 * link.  Written one by one, most of a row's cost would be that of opening the
 * log; so they are kept and written together before the transaction commits,
 * or earlier if they become many.
 *
 * A row's seq is drawn when its edit is noted, while the edited row is locked:
 * by seq the edits of a record are in order, whenever they are written.  The
 * row version that they are based on is read when they are written; until then
 * nobody else can write the row.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "local/capture_buffer.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "storage/change_log.h"
#include "storage/registry.h"
#include "storage/replica.h"

PG_FUNCTION_INFO_V1(syncext_captured_flush);

/* So many edits are written before the transaction ends. */
#define BUFFER_MAX_EDITS	1000
#define BUFFER_MAX_BYTES	(1024 * 1024)

typedef struct BufferedEdit
{
	struct BufferedEdit *next;
	Oid			relation;
	int64		seq;
	const char *entity;
	const char *source;
	char	   *external_id;
	int64		version;		/* the row's own; 0: it counts none */
	bool		deleted;
	Jsonb	   *fields;
	Jsonb	   *detail;			/* or NULL */
} BufferedEdit;

/* The edits of a subtransaction; its parent's, as soon as it commits. */
typedef struct BufferLevel
{
	struct BufferLevel *outer;
	int			nest_level;
	MemoryContext context;		/* all of it is in here */
	int			n;
	BufferedEdit *first;
	BufferedEdit *last;
} BufferLevel;

static BufferLevel *innermost = NULL;

/* ---------- transactions ---------- */

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			capture_buffer_flush();
			break;
		default:
			/* it was in the transaction's memory */
			innermost = NULL;
	}
}

static void
append_level(BufferLevel *outer, BufferLevel *inner)
{
	if (outer->first == NULL)
		outer->first = inner->first;
	else
		outer->last->next = inner->first;
	outer->last = inner->last;
	outer->n += inner->n;
	MemoryContextSetParent(inner->context, outer->context);
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	BufferLevel *level = innermost;

	if (level == NULL || level->nest_level < GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		innermost = level->outer;
		MemoryContextDelete(level->context);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		level->nest_level--;
		if (level->outer == NULL || level->outer->nest_level < level->nest_level)
			return;
		innermost = level->outer;
		if (level->n > 0)
			append_level(innermost, level);
		else
			MemoryContextDelete(level->context);
	}
}

static BufferLevel *
level_get(void)
{
	static bool registered = false;
	int			nest_level = GetCurrentTransactionNestLevel();
	MemoryContext context;
	BufferLevel *level;

	if (innermost != NULL && innermost->nest_level == nest_level)
		return innermost;
	if (!registered)
	{
		RegisterXactCallback(at_xact_end, NULL);
		RegisterSubXactCallback(at_subxact_end, NULL);
		registered = true;
	}
	context = AllocSetContextCreate(TopTransactionContext, "syncext captured edits",
									ALLOCSET_DEFAULT_SIZES);
	level = MemoryContextAllocZero(context, sizeof(BufferLevel));
	level->context = context;
	level->nest_level = nest_level;
	level->outer = innermost;
	innermost = level;
	return level;
}

/* ---------- writing ---------- */

/* Fields that a hub kept back are based on when they were last delivered. */
static bool
held_base(const Fields *held, FieldName name, int64 *base)
{
	const Field *field = fields_find(held, name);

	if (field == NULL)
		return false;
	*base = DatumGetInt64(DirectFunctionCall1(numeric_int8,
											  NumericGetDatum(field->value.val.numeric)));
	return true;
}

/* Log rows in the making. */
typedef struct LogRows
{
	int			n;
	int			room;
	LogEntry   *entries;
	int64	   *seqs;
} LogRows;

static LogEntry *
add_log_row(LogRows *rows, const BufferedEdit *edit, int64 base, int64 seq)
{
	LogEntry   *entry;

	if (rows->n == rows->room)
	{
		rows->room *= 2;
		rows->entries = repalloc(rows->entries, sizeof(LogEntry) * rows->room);
		rows->seqs = repalloc(rows->seqs, sizeof(int64) * rows->room);
	}
	rows->seqs[rows->n] = seq;
	entry = &rows->entries[rows->n++];
	entry->entity = edit->entity;
	entry->external_id = edit->external_id;
	entry->source = edit->source;
	entry->version = edit->version;
	entry->row_version = base;
	entry->resolution = RESOLUTION_CAPTURED;
	entry->told = TOLD_ORIGIN;
	entry->fields = edit->fields;
	entry->detail = edit->detail;
	return entry;
}

/* Give each field that is held back a row of its own; the rest goes in one. */
static void
add_held_rows(LogRows *rows, const BufferedEdit *edit, int64 base, Jsonb *held_jsonb, Oid sequence)
{
	Fields		fields;
	Fields		held;
	int			rest = 0;

	fields_from_container(&edit->fields->root, &fields);
	fields_from_container(&held_jsonb->root, &held);
	for (int i = 0; i < fields.n; i++)
	{
		Fields		one = {1, &fields.field[i]};
		int64		field_base;

		if (held_base(&held, fields.field[i].name, &field_base))
			add_log_row(rows, edit, field_base, change_log_draw_seq(sequence))->fields =
				fields_to_jsonb(&one);
		else
			fields.field[rest++] = fields.field[i];
	}
	if (rest == 0 && fields.n > 0)
		return;
	fields.n = rest;
	add_log_row(rows, edit, base, edit->seq)->fields = fields_to_jsonb(&fields);
}

static void
write_level(const BufferLevel *level)
{
	Replica    *replica = replica_open(false);
	ChangeLog  *log;
	Oid			sequence = registry_relation("change_seq");
	LogRows		rows = {.room = level->n};

	rows.entries = palloc(sizeof(LogEntry) * rows.room);
	rows.seqs = palloc(sizeof(int64) * rows.room);
	for (const BufferedEdit *edit = level->first; edit != NULL; edit = edit->next)
	{
		int64		base;
		Jsonb	   *held;

		replica_find_base(replica, edit->relation, edit->external_id, &base, &held);
		if (held != NULL && !edit->deleted)
			add_held_rows(&rows, edit, base, held, sequence);
		else
			(void) add_log_row(&rows, edit, base, edit->seq);
	}
	replica_close(replica);
	log = change_log_open(registry_get()->current_log);
	change_log_append_many(log, rows.n, rows.entries, rows.seqs);
	change_log_close(log);
}

void
capture_buffer_flush(void)
{
	BufferLevel *level = innermost;
	MemoryContext work;
	MemoryContext old;

	if (level == NULL || level->n == 0 ||
		level->nest_level != GetCurrentTransactionNestLevel())
		return;
	work = AllocSetContextCreate(level->context, "syncext captured edits being written",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(work);
	write_level(level);
	MemoryContextSwitchTo(old);
	innermost = level->outer;
	MemoryContextDelete(level->context);
}

/* ---------- noting ---------- */

/* What the log keeps of an edit beside its fields; NULL where that says all. */
static Jsonb *
make_detail(const Change *change, bool inserted)
{
	JsonbParseState *state = NULL;

	if (!inserted && !change->deleted && !change->has_updated_at && !change->has_version)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	if (inserted)
		json_push_bool(&state, "inserted", true);
	if (change->has_version)
		json_push_number(&state, "version", change->version);
	if (change->has_updated_at)
		json_push_string(&state, "updatedAt", rfc3339_format(change->updated_at));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
copy_jsonb(MemoryContext context, const Jsonb *jsonb)
{
	if (jsonb == NULL)
		return NULL;
	return memcpy(MemoryContextAlloc(context, VARSIZE(jsonb)), jsonb, VARSIZE(jsonb));
}

void
capture_buffer_add(Oid relation, const Change *change, bool inserted)
{
	Jsonb	   *fields = fields_to_jsonb(&change->fields);
	Jsonb	   *detail = make_detail(change, inserted);
	BufferLevel *level = level_get();
	BufferedEdit *edit = MemoryContextAlloc(level->context, sizeof(BufferedEdit));

	edit->next = NULL;
	edit->relation = relation;
	edit->seq = change_log_draw_seq(registry_relation("change_seq"));
	edit->entity = change->entity;
	edit->source = change->source;
	edit->external_id = MemoryContextStrdup(level->context, change->external_id);
	edit->deleted = change->deleted;
	edit->version = change->has_version ? change->version : 0;
	edit->fields = copy_jsonb(level->context, fields);
	edit->detail = copy_jsonb(level->context, detail);
	if (level->first == NULL)
		level->first = edit;
	else
		level->last->next = edit;
	level->last = edit;
	if (++level->n >= BUFFER_MAX_EDITS ||
		MemoryContextMemAllocated(level->context, false) >= BUFFER_MAX_BYTES)
		capture_buffer_flush();
}

/* For who is about to look for the transaction's own edits in the log. */
Datum
syncext_captured_flush(PG_FUNCTION_ARGS)
{
	capture_buffer_flush();
	PG_RETURN_VOID();
}
