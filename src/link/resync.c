/*
 * resync.c
 *	  After one side has gone back in time: find what the hub has lost of what was
 *	  agreed on, and send it again, or where we have gone back, report it.
 *
 * This is done before anything else goes over the link.  The exchange walks through all
 * that was agreed on, entity by entity and id by id.  It sends the hub each page's row
 * versions, and the hub answers with the records of which it has lost any.  How far the
 * walk has come stands in syncext.peer: if it breaks off, it goes on from there, and a
 * page that comes twice finds its records done.
 *
 * Records to which the hub has written nothing since are sent to it as they were when we
 * last knew all of them, deletes too, and it gives them the row versions that they had
 * then.  So other spokes, that come before or after us, can tell what each of them knew
 * from what it has missed, and nobody's delete is undone by who had not heard of it yet.
 * What is still lost then is captured, as edits that the hub decides.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "link/resync.h"
#include "link/wire.h"
#include "model/json_read.h"
#include "process/owner.h"
#include "storage/peer.h"

#define PAGE_ROWS	500
/* How often rows that other sessions lock are tried, and the wait in between. */
#define MAX_TRIES	50
#define WAIT_MS		100
/* What an answer may have, in bytes: a page of records. */
#define COMPARE_BYTES	(256 * 1024 * 1024)

typedef struct Resync
{
	MemoryContext context;		/* of the page */
	bool		done;
	bool		all;			/* of the page, nothing was busy */
	const char *error;			/* why something was not done; NULL: it was locked */
	const char *entity;
	const char *last_id;		/* of the page; NULL: it is the entity's last */
	const char *known;			/* {id: row version}, on the wire */
	int			nversions;		/* the same as it was read */
	AgreedVersion *versions;
	const char *since;
	const char *epoch;			/* of the hub that the row versions are of */
	TimestampTz since_time;
	int64		met_epoch;
	bool		ours;			/* we have gone back in time, not the hub */
	int			nlost;
	LostRecord *lost;
	int			next;			/* the first of them of which it isn't known if it can be
								 * sent again as it was */
	int			to;				/* those from next to here are sent with the next call, */
	const char *changes;		/* as this */
	int			nsent;			/* records of the page of which nothing is lost any more */
} Resync;

/* The columns of the answer. */
enum
{
	LOST_ID,
	LOST_PRESENT,
	LOST_DELETED,
	LOST_ROW_VERSION,
	LOST_BASE,
	LOST_FIELDS,
	LOST_STAMPS,
	LOST_WITHHELD,
	LOST_RECOVERED,
	LOST_NCOLUMNS
};

/* ---------- a page ---------- */

/*
 * An id that the wire can't carry is left out: no hub has ever heard of it.  A contested
 * record's row version doesn't show whether the hub has lost it.  It is sent negated,
 * so that the hub compares the record in any case.
 */
static void
add_known(StringInfo known, const char *id, int64 row_version, bool contested)
{
	const char *why;
	const char *told = wire_out(id, &why);

	if (told == NULL || row_version == 0)
		return;
	if (known->len > 1)
		appendStringInfoString(known, ", ");
	escape_json(known, told);
	appendStringInfo(known, ": " INT64_FORMAT, contested ? -row_version : row_version);
}

/* Returns false if there are no records after that id. */
static bool
read_page(Exchange *x, Resync *resync, const char *after)
{
	StringInfoData known;

	resync->versions = palloc(sizeof(AgreedVersion) * PAGE_ROWS);
	resync->nversions = x->side->read_agreed(x->source, resync->entity, after, PAGE_ROWS, x->batch_bytes,
											 resync->versions);
	if (resync->nversions == 0)
		return false;
	initStringInfo(&known);
	appendStringInfoChar(&known, '{');
	for (int i = 0; i < resync->nversions; i++)
	{
		const AgreedVersion *version = &resync->versions[i];

		add_known(&known, version->external_id, version->row_version, version->contested);
	}
	appendStringInfoChar(&known, '}');
	resync->known = known.data;
	resync->last_id = resync->versions[resync->nversions - 1].external_id;
	return true;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * Of which time of the hub is what was agreed on of the entity?  False: of the present
 * one, and there is nothing to compare.
 */
static bool
take_time(Exchange *x, const Peer *peer, const char *entity)
{
	Resync	   *resync = x->resync;
	char	   *which = psprintf("FROM syncext.uncompared u WHERE u.source = %s AND u.entity = %s",
								 quote_literal_cstr(x->source), quote_literal_cstr(entity));
	bool		alone = owner_true("SELECT EXISTS (SELECT %s)", which);

	if (!alone && peer->resync_since == 0)
		return false;
	resync->ours = !alone && peer->turned != NULL && strcmp(peer->turned, "spoke") == 0;
	resync->since_time = peer->resync_since;
	resync->met_epoch = peer->met_epoch;
	if (alone)
	{
		resync->since_time = owner_time("SELECT u.since %s", which);
		resync->met_epoch = owner_number("SELECT u.epoch %s", which);
	}
	resync->since = psprintf(INT64_FORMAT, resync->since_time);
	resync->epoch = psprintf(INT64_FORMAT, resync->met_epoch);
	return true;
}

/* Note that all was compared; in the step that has found so. */
static void
note_end(Exchange *x, Peer *peer, const List *entities)
{
	if (peer->resync_since != 0)
		x->side->rebased(x->source, x->link, peer->turned != NULL && strcmp(peer->turned, "spoke") == 0);
	/* one that was attached since is still to be */
	foreach_ptr(const char, entity, entities)
		owner_execute("DELETE FROM syncext.uncompared WHERE source = %s AND entity = %s",
					  quote_literal_cstr(x->source), quote_literal_cstr(entity));
	peer->resync_since = 0;
	peer->resync_entity = peer->resync_id = NULL;
	peer_save(x->link, peer);
}

/* Read the next page of the walk, or note its end; in a step. */
static void
take_page(Exchange *x)
{
	Resync	   *resync = x->resync;
	MemoryContext old = MemoryContextSwitchTo(resync->context);
	List	   *entities = x->side->entities(x->source);
	ListCell   *lc;
	Peer		peer;

	resync->done = true;
	list_sort(entities, compare_names);
	(void) peer_find(x->link, &peer);
	resync->next = resync->to = resync->nsent = 0;
	foreach(lc, entities)
	{
		const char *after = NULL;

		resync->entity = lfirst(lc);
		if (!take_time(x, &peer, resync->entity))
			continue;
		if (peer.resync_entity != NULL && strcmp(resync->entity, peer.resync_entity) < 0)
			continue;
		if (peer.resync_entity != NULL && strcmp(resync->entity, peer.resync_entity) == 0)
			after = peer.resync_id;
		if (!read_page(x, resync, after))
			continue;
		resync->done = false;
		break;
	}
	if (resync->done)
		note_end(x, &peer, entities);
	MemoryContextSwitchTo(old);
}

/* ---------- asking the hub ---------- */

static void
read_lost(Resync *resync, const Reply *reply, int row, LostRecord *lost)
{
	Jsonb	   *stamps = reply_jsonb(reply, row, LOST_STAMPS);
	Jsonb	   *withheld = reply_jsonb(reply, row, LOST_WITHHELD);

	lost->entity = resync->entity;
	lost->external_id = pstrdup(reply_string(reply, row, LOST_ID));
	lost->present = reply_bool(reply, row, LOST_PRESENT);
	lost->deleted = reply_bool(reply, row, LOST_DELETED);
	lost->row_version = reply_int64(reply, row, LOST_ROW_VERSION, 0, CHANGE_MAX_VERSION);
	lost->base = reply_int64(reply, row, LOST_BASE, 0, CHANGE_MAX_VERSION);
	lost->fields = reply_jsonb(reply, row, LOST_FIELDS);
	if (!JB_ROOT_IS_OBJECT(lost->fields) || !JB_ROOT_IS_OBJECT(stamps) ||
		!JB_ROOT_IS_OBJECT(withheld))
		reply_violation(reply->link, "syncext.hub_compare", "has fields that are no JSON object");
	fields_from_container(&stamps->root, &lost->stamps);
	for (int i = 0; i < lost->stamps.n; i++)
	{
		int64		stamp;

		if (!json_read_number(&lost->stamps.field[i].value, 0, CHANGE_MAX_VERSION, &stamp))
			reply_violation(reply->link, "syncext.hub_compare", "has a stamp that is no row version");
	}
	fields_from_container(&withheld->root, &lost->withheld);
	lost->recovered = reply_bool(reply, row, LOST_RECOVERED);
}

/* Ask of records, by id, after these changes.  Returns how many the hub has lost some of. */
static int
ask_of(Exchange *x, const char *known, const char *changes, LostRecord **lost)
{
	static const ReplyShape shape = {"syncext.hub_compare", LOST_NCOLUMNS, 0, PAGE_ROWS, COMPARE_BYTES};
	Resync	   *resync = x->resync;
	const char *params[7] = {x->upstream->wire_source, wire_out_required(resync->entity), known,
	resync->since, resync->ours ? "false" : "true", resync->epoch, changes};
	Reply	   *reply;
	int			n;

	reply = remote_call(&x->upstream->remote,
						"SELECT external_id, present, deleted, row_version, base, fields, stamps, jsonb_object(withheld, withheld), recovered "
						"FROM syncext.hub_compare($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.jsonb, "
						"CAST('2000-01-01 00:00:00+00' AS pg_catalog.timestamptz) OPERATOR(pg_catalog.+) "
						"($4::pg_catalog.int8 OPERATOR(pg_catalog.*) CAST('1 microsecond' AS pg_catalog.interval)), "
						"$5::pg_catalog.bool, $6::pg_catalog.int8, $7::pg_catalog.jsonb)",
						7, params, &shape, upstream_deadline());
	n = reply->nrows;
	*lost = palloc0(sizeof(LostRecord) * Max(n, 1));
	for (int i = 0; i < n; i++)
		read_lost(resync, reply, i, &(*lost)[i]);
	reply_free(reply);
	return n;
}

static void
ask(Exchange *x)
{
	Resync	   *resync = x->resync;
	MemoryContext old = MemoryContextSwitchTo(resync->context);

	resync->nlost = ask_of(x, resync->known, "[]", &resync->lost);
	MemoryContextSwitchTo(old);
}

/* ---------- what the hub can have again as it was ---------- */

static const char *
recovery_document(const Exchange *x, const LostRecord *lost, const Recovery *recovery)
{
	Change		change = {
		.entity = lost->entity,
		.external_id = lost->external_id,
		.source = x->source,
		.has_base = true,
		/* a record that was deleted before comes with what we know of it alone */
		.base = lost->present && (recovery->deleted || !lost->deleted) ? lost->row_version : 0,
		.has_if_match = true,
		.if_match = lost->row_version,
		.has_updated_at = true,
		.updated_at = x->resync->since_time,
		.deleted = recovery->deleted,
		.known = recovery->known,
		.fields = recovery->fields,
		.recovered = recovery->row_version,
		.recovered_epoch = x->resync->met_epoch
	};
	Jsonb	   *document = change_document(&change);
	const char *why;

	return wire_out(JsonbToCString(NULL, &document->root, VARSIZE(document)), &why);
}

static const AgreedVersion *
version_of(const Resync *resync, const char *external_id)
{
	for (int i = 0; i < resync->nversions; i++)
		if (strcmp(resync->versions[i].external_id, external_id) == 0)
			return &resync->versions[i];
	return NULL;
}

/*
 * Go on through what is lost, to, until a batch is full of what can be sent again; in a
 * step.
 */
static void
take_recoveries(Exchange *x)
{
	Resync	   *resync = x->resync;
	MemoryContext old = MemoryContextSwitchTo(resync->context);
	StringInfoData changes;

	initStringInfo(&changes);
	appendStringInfoChar(&changes, '[');
	resync->changes = NULL;
	for (; resync->to < resync->nlost && changes.len < x->batch_bytes; resync->to++)
	{
		LostRecord *lost = &resync->lost[resync->to];
		const char *document = NULL;
		Recovery	recovery;

		if (x->side->recover(x->source, lost, &recovery))
			document = recovery_document(x, lost, &recovery);
		lost->sent = document != NULL;
		if (document == NULL)
			continue;
		if (changes.len > 1)
			appendStringInfoChar(&changes, ',');
		appendStringInfoString(&changes, document);
		resync->changes = changes.data;
	}
	appendStringInfoChar(&changes, ']');
	if (resync->changes != NULL)
		resync->changes = changes.data;
	MemoryContextSwitchTo(old);
}

/* Put what the hub says now of a record that was sent in place of what it said before. */
static void
update_lost(Resync *resync, LostRecord *lost, const LostRecord *now, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(now[i].external_id, lost->external_id) != 0)
			continue;
		*lost = now[i];
		/* else it wasn't taken, and comes as an edit */
		lost->sent = lost->recovered;
		return;
	}
	/* nothing is lost of it any more */
	lost->external_id = NULL;
	resync->nsent++;
}

/* Send what was taken, and ask of these records again. */
static void
send_recoveries(Exchange *x)
{
	Resync	   *resync = x->resync;
	MemoryContext old = MemoryContextSwitchTo(resync->context);
	StringInfoData known;
	LostRecord *now;
	int			n;

	initStringInfo(&known);
	appendStringInfoChar(&known, '{');
	for (int i = resync->next; i < resync->to; i++)
	{
		const AgreedVersion *version = resync->lost[i].sent ?
			version_of(resync, resync->lost[i].external_id) : NULL;

		if (version != NULL)
			add_known(&known, version->external_id, version->row_version, version->contested);
	}
	appendStringInfoChar(&known, '}');
	n = ask_of(x, known.data, resync->changes, &now);
	for (int i = resync->next; i < resync->to; i++)
		if (resync->lost[i].sent)
			update_lost(resync, &resync->lost[i], now, n);
	MemoryContextSwitchTo(old);
}

/* Let the hub have again what it can as it was; what is still lost stays in the list. */
static void
send_again(Exchange *x)
{
	Resync	   *resync = x->resync;
	int			kept = 0;

	while (!resync->ours && resync->to < resync->nlost)
	{
		CHECK_FOR_INTERRUPTS();
		resync->next = resync->to;
		exchange_step(x, take_recoveries);
		if (resync->changes != NULL)
			send_recoveries(x);
	}
	for (int i = 0; i < resync->nlost; i++)
		if (resync->lost[i].external_id != NULL)
			resync->lost[kept++] = resync->lost[i];
	resync->nlost = kept;
}

/* ---------- what comes of it ---------- */

/* Note what the hub has, and how far the walk is; in a step. */
static void
note_page(Exchange *x)
{
	Resync	   *resync = x->resync;
	Rebased		result = {0};
	Peer		peer;

	resync->all = x->side->rebase(x->source, resync->lost, resync->nlost, resync->ours, &result);
	resync->error = result.error == NULL ? NULL : MemoryContextStrdup(x->context, result.error);
	if (!peer_find(x->link, &peer))
		return;
	peer.resent += result.resent + (resync->all ? resync->nsent : 0);
	peer.stranded += result.stranded;
	if (resync->all)
	{
		peer.resync_entity = resync->entity;
		peer.resync_id = resync->last_id;
	}
	peer_save(x->link, &peer);
}

/* Wait for sessions that lock rows of the page; raise after too many tries. */
static void
wait_a_moment(const Exchange *x, int tries)
{
	if (tries >= MAX_TRIES || x->resync->error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of link \"%s\" cannot be compared with its hub, which has gone back in time",
						x->link),
				 errdetail_internal("%s", x->resync->error != NULL ? x->resync->error :
									"They are locked."),
				 errhint("The next exchange goes on from where this one was.")));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

bool
resync_is_due(const Exchange *x)
{
	return x->upstream->greeting.peer.resync_since != 0 ||
		owner_true("SELECT EXISTS (SELECT FROM syncext.uncompared u JOIN syncext.binding b "
				   "ON b.source = u.source AND b.entity = u.entity WHERE u.source = %s)",
				   quote_literal_cstr(x->source));
}

void
resync_run(Exchange *x)
{
	Resync		resync = {0};
	int			tries = 0;

	resync.context = AllocSetContextCreate(x->context, "syncext resync", ALLOCSET_DEFAULT_SIZES);
	x->resync = &resync;
	for (;;)
	{
		MemoryContextReset(resync.context);
		CHECK_FOR_INTERRUPTS();
		exchange_step(x, take_page);
		if (resync.done)
			break;
		ask(x);
		send_again(x);
		exchange_step(x, note_page);
		if (resync.all)
			tries = 0;
		else
			wait_a_moment(x, ++tries);
	}
	MemoryContextDelete(resync.context);
	x->resync = NULL;
}
