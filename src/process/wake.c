/*
 * wake.c
 *	  Waking workers, and the sessions that wait in sync_wait, when a transaction that
 *	  concerns them commits.
 *
 * Works for storage/change_log, for each row that is appended, for the triggers on the
 * configuration and for that on syncext.link.  A transaction notes which workers to wake
 * while it can still read the tables, and what it has for whom (process/waiters); after
 * its commit the latches are set, and nothing else is done: it takes no lock and fails in
 * no way.  A worker that started in between isn't known to the transaction; it looks by
 * itself when it starts, and every second.
 *
 * What COMMIT PREPARED makes visible was noted by a transaction that ended before, so
 * COMMIT PREPARED wakes all of them.  In a session that has not loaded the library it wakes
 * none, and the workers' own look finds what it committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "compat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "process/launch.h"
#include "process/utility_hook.h"
#include "process/waiters.h"
#include "process/wake.h"
#include "storage/change_log.h"
#include "storage/hints.h"
#include "storage/layout.h"
#include "storage/link.h"
#include "storage/locks.h"
#include "storage/names.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(syncext_link_changed);

/* A worker to be started. */
typedef struct Launch
{
	Oid			role;
	bool		wait_for_predecessor;
	char		link[NAMEDATALEN];	/* empty: the notifier */
} Launch;

/* What the transaction has noted.  The lists are in TopTransactionContext. */
static bool noted = false;
static bool config_noted = false;
static bool config_committed = false;	/* and not told yet */
static bool log_noted = false;
static News news = {0};
static char news_entity[NAMEDATALEN] = "";	/* of the row noted last, */
static char news_source[NAMEDATALEN] = "";	/* and who need not hear of it */
static char captured_noted[NAMEDATALEN] = "";	/* the source noted last */
static List *processes = NIL;	/* of int */
static List *launches = NIL;	/* of Launch * */

/* How often a session tries to get at where those stand that wait, in milliseconds. */
#define ATTACH_MS	1000

/* How long a notifier may take to come up, in milliseconds. */
#define COME_UP_MS	1000
static TimestampTz notifier_launched = 0;	/* by this session */

static ProcessUtility_hook_type next_utility_hook = NULL;

/* ---------- noting ---------- */

/* Wake this process when the transaction commits. */
static void
note_process(int pid)
{
	MemoryContext old;

	if (pid == 0 || pid == MyProcPid || list_member_int(processes, pid))
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	processes = lappend_int(processes, pid);
	MemoryContextSwitchTo(old);
	noted = true;
}

static bool
is_notifier(const Launch *launch)
{
	return launch->link[0] == '\0';
}

static void
note_launch(const char *link, Oid role, bool wait_for_predecessor)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Launch	   *launch = palloc0(sizeof(Launch));

	launch->role = role;
	launch->wait_for_predecessor = wait_for_predecessor;
	strlcpy(launch->link, link, sizeof(launch->link));
	launches = lappend(launches, launch);
	MemoryContextSwitchTo(old);
	noted = true;
}

/*
 * The notifier that this session has started a moment ago has yet to come up and to
 * publish its pid.  A session that asks again before that starts no other.
 */
void
wake_note_launch_notifier(void)
{
	foreach_ptr(const Launch, launch, launches)
		if (is_notifier(launch))
			return;
	if (TimestampDifferenceExceeds(notifier_launched, GetCurrentTimestamp(), COME_UP_MS))
		note_launch("", InvalidOid, false);
}

/* Link workers, too: the source of a relay is told as any other is. */
static void
note_log_written(void)
{
	if (log_noted)
		return;
	launch_missing();
	note_process(registry_get()->notifier_pid);
	foreach_ptr(const Link, link, link_list())
		note_process(link->worker_pid);
	log_noted = noted = true;
}

static void
note_news(const LogEntry *entry)
{
	const char *source = entry->audience == AUDIENCE_OTHERS ? entry->source : "";

	if (strcmp(news_source, source) == 0 && strcmp(news_entity, entry->entity) == 0)
		return;
	strlcpy(news_source, source, NAMEDATALEN);
	strlcpy(news_entity, entry->entity, NAMEDATALEN);
	news_add(&news, entry->entity, source[0] == '\0' ? NULL : source);
}

static void
note_anything(void)
{
	news_add_all(&news);
	noted = true;
}

static void
note_config_changed(void)
{
	config_noted = noted = true;
}

void
wake_note_feeds(void)
{
	note_anything();
	note_process(registry_get()->notifier_pid);
}

static void
note_captured(const char *source)
{
	const Link *link;

	if (strcmp(captured_noted, source) == 0)
		return;
	launch_missing();
	link = link_of_source(source);
	if (link != NULL)
		note_process(link->worker_pid);
	strlcpy(captured_noted, source, sizeof(captured_noted));
	noted = true;
}

/* The transaction appends this to the log.  Cheap enough to call for every row. */
static void
note_entry(const LogEntry *entry)
{
	if (entry->resolution == RESOLUTION_CAPTURED)
		note_captured(entry->source);
	else if (entry->audience != AUDIENCE_NONE)
	{
		note_log_written();
		note_news(entry);
	}
}

/* ---------- the end of the transaction ---------- */

/* After the commit it would be too late; what fails now is tried again in a while. */
static void
attach_waiters(void)
{
	static TimestampTz tried = 0;
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if ((news.entities == 0 && !config_noted) || !shared_area_possible(&waiters_area) ||
		!TimestampDifferenceExceeds(tried, now, ATTACH_MS))
		return;
	tried = now;
	(void) shared_area_try(&waiters_area);
}

void
wake_process(int pid)
{
	PGPROC	   *proc = launch_process(pid);

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

static void
start_noted(const Launch *launch)
{
	if (!is_notifier(launch))
		(void) launch_link_worker(launch->link, launch->role, launch->wait_for_predecessor, WARNING);
	else
	{
		notifier_launched = GetCurrentTimestamp();
		(void) launch_notifier();
	}
}

static void
at_commit(void)
{
	ListCell   *lc;

	/* at_release() does that else */
	if (!config_noted)
		waiters_tell(&news);
	foreach(lc, processes)
		wake_process(lfirst_int(lc));
	foreach_ptr(const Launch, launch, launches)
		start_noted(launch);
}

static void
forget(void)
{
	noted = log_noted = config_noted = false;
	captured_noted[0] = news_entity[0] = news_source[0] = '\0';
	MemSet(&news, 0, sizeof(news));
	/* the memory goes with the transaction */
	processes = NIL;
	launches = NIL;
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (!noted)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			attach_waiters();
			break;
		case XACT_EVENT_COMMIT:
			config_committed = config_noted;
			at_commit();
			forget();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget();
			break;
		default:
			break;
	}
}

/*
 * Only now do others know that their caches of the configuration are outdated.  Who looked
 * before would go by what was.
 */
static void
at_release(ResourceReleasePhase phase, bool commits, bool top_level, void *arg)
{
	News		anything = {0};

	if (!config_committed || !top_level || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	config_committed = false;
	news_add_all(&anything);
	waiters_tell(&anything);
}

/* ---------- COMMIT PREPARED ---------- */

static bool
is_commit_prepared(const PlannedStmt *pstmt)
{
	return IsA(pstmt->utilityStmt, TransactionStmt) &&
		((const TransactionStmt *) pstmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
utility_hook(utility_hook_args)
{
	/* the statement may be gone afterwards */
	const bool	wakes = is_commit_prepared(pstmt);

	utility_hook_next(next_utility_hook, utility_hook_pass);
	if (!wakes || !extension_is_here())
		return;
	note_log_written();
	note_anything();
}

void
wake_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterResourceReleaseCallback(at_release, NULL);
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
	change_log_hook = note_entry;
	registry_changed_hook = note_config_changed;
	shared_area_request(&waiters_area);
}

/* ---------- links that change ---------- */

/* What the trigger has to know of a row of syncext.link. */
typedef struct LinkRow
{
	char	   *name;
	Oid			owner;
	bool		enabled;
	int			worker_pid;
	bool		relay;
} LinkRow;

static void
read_row(TriggerData *trigger, HeapTuple tuple, LinkRow *row)
{
	Datum		values[MAX_COLUMNS + 1];
	bool		isnull[MAX_COLUMNS + 1];

	layout_deform(layout_of(trigger->tg_relation), RelationGetDescr(trigger->tg_relation), tuple,
				  values, isnull);
	row->name = TextDatumGetCString(values[COL_LINK_NAME]);
	row->owner = role_of_name(TextDatumGetCString(values[COL_LINK_OWNER]));
	row->enabled = DatumGetBool(values[COL_LINK_ENABLED]);
	row->worker_pid = isnull[COL_LINK_WORKER_PID] ? 0 : DatumGetInt32(values[COL_LINK_WORKER_PID]);
	row->relay = DatumGetBool(values[COL_LINK_RELAY]);
}

/* An exchange under way goes by what the link was when it began. */
static void
check_kind(const LinkRow *before, const LinkRow *after)
{
	if (before->relay != after->relay && !lock_held(LOCK_EXCHANGE, lock_key(before->name)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("whether link \"%s\" is a relay cannot be written here", before->name),
				 errhint_call("SELECT sync_link(%s, …, relay => %s) changes it as long as nothing has gone over the link.",
						 quote_literal_cstr(before->name), after->relay ? "true" : "false")));
}

/*
 * Trigger on syncext.link, by row: wakes the link's worker, if it has one, and
 * starts one where there should be one from now on.
 */
Datum
syncext_link_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	LinkRow		before;
	LinkRow		after;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("link_changed() is a trigger function, by row")));
	/* another table has other columns */
	if (RelationGetRelid(trigger->tg_relation) != registry_relation("link"))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("link_changed() is a trigger of table syncext.link")));
	read_row(trigger, trigger->tg_trigtuple, &before);
	note_process(before.worker_pid);
	/* the worker of a link of this name that was ended a moment ago may run still */
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && before.enabled && OidIsValid(before.owner))
		note_launch(before.name, before.owner, launch_is_running(before.name));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		read_row(trigger, trigger->tg_newtuple, &after);
		check_kind(&before, &after);
		/* the old worker may run still, as one that was disabled or as the old owner */
		if (after.enabled && OidIsValid(after.owner) &&
			(!before.enabled || after.owner != before.owner))
			note_launch(after.name, after.owner, true);
	}
	return PointerGetDatum(NULL);
}
