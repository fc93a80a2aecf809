/*
 * outbox_buffer.c
 *	  Edits of relations whose entity is decided behind a link, until their
 *	  transaction commits.
 *
 * An edit becomes a CAPTURED row of the change log, which is due to the edit's own
 * source: the hub behind the link.  Written one by one, most of a row's cost would be
 * that of opening the log; so they are kept and written together before the transaction
 * commits, or earlier if they become many.
 *
 * A row's seq is drawn when its edit is noted, while the edited row is locked:
 * by seq the edits of a record are in order, whenever they are written.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "local/outbox_buffer.h"
#include "model/json.h"
#include "storage/change_log.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(syncext_captured_flush);

/* So many edits are written before the transaction ends. */
#define BUFFER_MAX_EDITS	1000
#define BUFFER_MAX_BYTES	(1024 * 1024)

typedef struct BufferedEdit
{
	struct BufferedEdit *next;
	int64		seq;
	const char *entity;
	const char *source;
	char	   *external_id;
	int64		version;		/* the row's own; 0: it counts none */
	bool		has_updated_at;
	TimestampTz updated_at;
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
			outbox_buffer_flush();
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

static void
make_entry(const BufferedEdit *edit, LogEntry *entry)
{
	entry->entity = edit->entity;
	entry->external_id = edit->external_id;
	entry->source = edit->source;
	entry->version = edit->version;
	/* which row version it was made on is known when it is sent */
	entry->row_version = 0;
	entry->has_base = false;
	entry->has_updated_at = edit->has_updated_at;
	entry->updated_at = edit->updated_at;
	entry->resolution = RESOLUTION_CAPTURED;
	entry->audience = AUDIENCE_ORIGIN;
	entry->fields = edit->fields;
	entry->detail = edit->detail;
}

static void
write_level(const BufferLevel *level)
{
	ChangeLog  *log = change_log_open(registry_get()->current_log);

	for (const BufferedEdit *edit = level->first; edit != NULL; edit = edit->next)
	{
		LogEntry	entry;

		make_entry(edit, &entry);
		change_log_append_drawn(log, &entry, edit->seq);
	}
	change_log_close(log);
}

void
outbox_buffer_flush(void)
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
	/* before a commit there is none any more */
	PushActiveSnapshot(GetTransactionSnapshot());
	write_level(level);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	innermost = level->outer;
	MemoryContextDelete(level->context);
}

/* ---------- noting ---------- */

/* What the log keeps of an edit beside its fields; NULL where that says all. */
static Jsonb *
make_detail(const Change *change, const char *kind, int64 run)
{
	JsonbParseState *state = NULL;

	if (kind == NULL && !change->deleted && !change->has_version && !change->cascade && run == 0)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	if (kind != NULL)
		json_push_bool(&state, kind, true);
	if (change->cascade)
		json_push_bool(&state, "cascade", true);
	if (run != 0)
		json_push_number(&state, "run", run);
	if (change->has_version)
		json_push_number(&state, "version", change->version);
	return json_end_object(&state);
}

void
outbox_buffer_add(const Change *change, const char *kind, int64 run)
{
	Jsonb	   *fields = fields_to_jsonb(&change->fields);
	Jsonb	   *detail = make_detail(change, kind, run);
	BufferLevel *level = level_get();
	MemoryContext old = MemoryContextSwitchTo(level->context);
	BufferedEdit *edit = palloc(sizeof(BufferedEdit));

	edit->next = NULL;
	edit->seq = change_log_draw_seq(registry_relation("change_seq"));
	edit->entity = change->entity;
	edit->source = change->source;
	edit->external_id = pstrdup(change->external_id);
	edit->version = change->has_version ? change->version : 0;
	edit->has_updated_at = change->has_updated_at;
	edit->updated_at = change->updated_at;
	edit->fields = json_copy(fields);
	edit->detail = json_copy(detail);
	MemoryContextSwitchTo(old);
	if (level->first == NULL)
		level->first = edit;
	else
		level->last->next = edit;
	level->last = edit;
	if (++level->n >= BUFFER_MAX_EDITS ||
		MemoryContextMemAllocated(level->context, false) >= BUFFER_MAX_BYTES)
		outbox_buffer_flush();
}

/* For functions in SQL that look for the transaction's own edits in the log. */
Datum
syncext_captured_flush(PG_FUNCTION_ARGS)
{
	outbox_buffer_flush();
	PG_RETURN_VOID();
}
