/*
 * resync.c
 *	  A hub that has gone back in time: what it has lost of what was agreed on here
 *	  is found, and sent to it again.  Where we have, what the hub doesn't know any more
 *	  is found, and told.
 *
 * Called by link/exchange, before anything else goes over the link.  All that was
 * agreed on is walked through, entity by entity and id by id; of each page the hub is
 * told the row versions, and answers with those records of which it has lost any.
 * How far the walk is stands in syncext.peer: broken off, it goes on from there, and
 * a page that comes twice finds its records done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "link/exchange_state.h"
#include "link/relay.h"
#include "link/wire.h"
#include "local/linked.h"
#include "model/json_read.h"
#include "storage/agreed.h"
#include "storage/binding.h"
#include "storage/peer.h"
#include "storage/registry.h"
#include "storage/replica.h"

#define PAGE_ROWS	500
/* How often rows that somebody holds are tried, and how long is waited in between. */
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
	const char *since;
	bool		ours;			/* it is we who have gone back in time */
	int			nlost;
	LostRecord *lost;
} Resync;

/* The columns of the answer. */
enum
{
	LOST_ID,
	LOST_PRESENT,
	LOST_DELETED,
	LOST_BASE,
	LOST_FIELDS,
	LOST_STAMPS,
	LOST_WITHHELD,
	LOST_NCOLUMNS
};

/* ---------- a page ---------- */

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The entities in which something may be agreed on, sorted. */
static List *
entities_of(const Exchange *x)
{
	const Registry *registry = registry_get();
	List	   *names = NIL;
	ListCell   *lc;

	if (x->relay)
		for (int i = 0; i < registry->nentities; i++)
			names = lappend(names, pstrdup(registry->entities[i].name));
	foreach(lc, binding_list(x->source, NULL))
		names = lappend(names, pstrdup(((const Binding *) lfirst(lc))->entity));
	list_sort(names, compare_names);
	return names;
}

/*
 * An id that can't be told to any hub was never heard of by one.  Of what is contested
 * the row version says nothing of whether the hub has lost it: it is told as less than
 * zero, and compared in any case.
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

/* Read rows of an attached relation; returns how many. */
static int
read_rows(Resync *resync, Oid relation, const char *after, StringInfo known)
{
	Replica    *replica = replica_open(false);
	ReplicaScan *scan = replica_scan_begin(replica, relation, after);
	char	   *id;
	bool		present;
	bool		contested;
	int			n = 0;

	while (n < PAGE_ROWS && replica_scan_next(scan, &id, &present))
	{
		int64		seen = replica_scan_seen(scan, &contested);

		add_known(known, id, seen, contested);
		resync->last_id = id;
		n++;
	}
	replica_scan_end(scan);
	replica_close(replica);
	return n;
}

/* The same of records, where we are a hub ourselves. */
static int
read_agreed(Resync *resync, const char *source, const char *after, StringInfo known)
{
	AgreedTable *table = agreed_open(false);
	AgreedScan *scan = agreed_scan_begin(table, source, resync->entity, after);
	char	   *id;
	int64		row_version;
	bool		contested;
	int			n = 0;

	while (n < PAGE_ROWS && agreed_scan_next(scan, &id, &row_version, &contested))
	{
		add_known(known, id, row_version, contested);
		resync->last_id = id;
		n++;
	}
	agreed_scan_end(scan);
	agreed_close(table);
	return n;
}

static int
read_page(Exchange *x, Resync *resync, const char *after, StringInfo known)
{
	const Binding *binding;

	if (x->relay)
		return read_agreed(resync, x->source, after, known);
	binding = binding_of_entity(x->source, resync->entity);
	return binding == NULL ? 0 : read_rows(resync, binding->relation, after, known);
}

/* Find the next page behind where the walk stands; in a step. */
static void
take_page(Exchange *x)
{
	Resync	   *resync = x->resync;
	MemoryContext old = MemoryContextSwitchTo(resync->context);
	StringInfoData known;
	ListCell   *lc;
	Peer		peer;

	resync->done = true;
	if (!peer_find(x->link, &peer) || peer.resync_since == 0)
		peer.resync_entity = NULL;
	resync->since = psprintf(INT64_FORMAT, peer.resync_since);
	resync->ours = peer.turned != NULL && strcmp(peer.turned, "spoke") == 0;
	foreach(lc, entities_of(x))
	{
		const char *after = NULL;

		resync->entity = lfirst(lc);
		if (peer.resync_entity != NULL && strcmp(resync->entity, peer.resync_entity) < 0)
			continue;
		if (peer.resync_entity != NULL && strcmp(resync->entity, peer.resync_entity) == 0)
			after = peer.resync_id;
		initStringInfo(&known);
		appendStringInfoChar(&known, '{');
		if (read_page(x, resync, after, &known) == 0)
			continue;
		appendStringInfoChar(&known, '}');
		resync->known = known.data;
		resync->done = false;
		break;
	}
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
	lost->base = reply_int64(reply, row, LOST_BASE, 0, HUB_MAX_VERSION);
	lost->fields = reply_jsonb(reply, row, LOST_FIELDS);
	if (!JB_ROOT_IS_OBJECT(lost->fields) || !JB_ROOT_IS_OBJECT(stamps) ||
		!JB_ROOT_IS_OBJECT(withheld))
		reply_violation(reply->link, "syncext.hub_compare", "has fields that are no JSON object");
	fields_from_container(&stamps->root, &lost->stamps);
	for (int i = 0; i < lost->stamps.n; i++)
	{
		int64		stamp;

		if (!json_read_number(&lost->stamps.field[i].value, 0, HUB_MAX_VERSION, &stamp))
			reply_violation(reply->link, "syncext.hub_compare", "has a stamp that is no row version");
	}
	fields_from_container(&withheld->root, &lost->withheld);
}

static void
ask(Exchange *x)
{
	static const ReplyShape shape = {"syncext.hub_compare", LOST_NCOLUMNS, 0, PAGE_ROWS, COMPARE_BYTES};
	Resync	   *resync = x->resync;
	MemoryContext old = MemoryContextSwitchTo(resync->context);
	const char *params[5] = {x->hub->wire_source, wire_out_required(resync->entity), resync->known,
	resync->since, resync->ours ? "false" : "true"};
	Reply	   *reply;

	reply = remote_call(&x->hub->remote,
						"SELECT external_id, present, deleted, base, fields, stamps, jsonb_object(withheld, withheld) "
						"FROM syncext.hub_compare($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.jsonb, "
						"CAST('2000-01-01 00:00:00+00' AS pg_catalog.timestamptz) OPERATOR(pg_catalog.+) "
						"($4::pg_catalog.int8 OPERATOR(pg_catalog.*) CAST('1 microsecond' AS pg_catalog.interval)), "
						"$5::pg_catalog.bool)",
						5, params, &shape, hub_deadline());
	resync->nlost = reply->nrows;
	resync->lost = palloc0(sizeof(LostRecord) * Max(reply->nrows, 1));
	for (int i = 0; i < reply->nrows; i++)
		read_lost(resync, reply, i, &resync->lost[i]);
	reply_free(reply);
	MemoryContextSwitchTo(old);
}

/* ---------- what comes of it ---------- */

/* Note what the hub has, and how far the walk is; in a step. */
static void
note_page(Exchange *x)
{
	Resync	   *resync = x->resync;
	Rebased		result = {0};
	Peer		peer;

	if (x->relay)
		relay_rebase(x->source, resync->lost, resync->nlost, resync->ours, &result);
	resync->all = x->relay || rebase_rows(x->source, resync->lost, resync->nlost, resync->ours,
										  &result);
	resync->error = result.error == NULL ? NULL : MemoryContextStrdup(x->context, result.error);
	if (!peer_find(x->link, &peer))
		return;
	peer.resent += result.resent;
	peer.stranded += result.stranded;
	if (resync->all)
	{
		peer.resync_entity = resync->entity;
		peer.resync_id = resync->last_id;
	}
	peer_save(x->link, &peer);
}

static void
note_end(Exchange *x)
{
	Peer		peer;

	if (x->relay && !x->resync->ours)
		relay_renew(x->source);
	else if (!x->relay)
		linked_forget_detached(x->source);
	if (!peer_find(x->link, &peer))
		return;
	peer.resync_since = 0;
	peer.resync_entity = peer.resync_id = NULL;
	peer_save(x->link, &peer);
}

/* Somebody holds rows of the page: not for long. */
static void
wait_a_moment(const Exchange *x, int tries)
{
	if (tries >= MAX_TRIES || x->resync->error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of link \"%s\" can't be compared with its hub, which has gone back in time",
						x->link),
				 errdetail_internal("%s", x->resync->error != NULL ? x->resync->error :
									"They are locked."),
				 errhint("The next exchange goes on from where this one was.")));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
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
		exchange_step(x, note_page);
		if (resync.all)
			tries = 0;
		else
			wait_a_moment(x, ++tries);
	}
	exchange_step(x, note_end);
	MemoryContextDelete(resync.context);
	x->resync = NULL;
}
