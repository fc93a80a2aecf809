/*
 * wake.c
 *	  Waking workers when a transaction that concerns them commits.
 *
 * Works for storage/change_log, for each row that is appended, and for the trigger
 * on syncext.link.  A transaction notes which processes to wake while it can still read the
 * tables; after its commit the latches are set, and nothing else is done: it
 * takes no lock and fails in no way.  A worker that started in between isn't
 * known to the transaction; it looks by itself when it starts, and every second.
 *
 * What COMMIT PREPARED makes visible was noted by a transaction that ended
 * before, so COMMIT PREPARED wakes all workers.  In a session that has not loaded
 * the library it wakes none, and the workers' own look finds what it committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "process/launch.h"
#include "process/wake.h"
#include "storage/change_log.h"
#include "storage/hints.h"
#include "storage/layout.h"
#include "storage/link.h"
#include "storage/locks.h"
#include "storage/registry.h"
#include "storage/role.h"

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
static bool log_noted = false;
static char captured_noted[NAMEDATALEN] = "";	/* the source noted last */
static List *processes = NIL;	/* of int */
static List *launches = NIL;	/* of Launch * */

/* How long a notifier may take to come up, in milliseconds. */
#define COME_UP_MS	1000
static TimestampTz notifier_launched = 0;	/* by this session */

static ProcessUtility_hook_type next_utility_hook = NULL;

/* ---------- noting ---------- */

void
wake_note_process(int pid)
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
	ListCell   *lc;

	foreach(lc, launches)
		if (is_notifier(lfirst(lc)))
			return;
	if (TimestampDifferenceExceeds(notifier_launched, GetCurrentTimestamp(), COME_UP_MS))
		note_launch("", InvalidOid, false);
}

/* Link workers, too: the source of a relay is told as any other is. */
static void
note_log_written(void)
{
	ListCell   *lc;

	if (log_noted)
		return;
	launch_missing();
	wake_note_process(registry_get()->notifier_pid);
	foreach(lc, link_list())
		wake_note_process(((const Link *) lfirst(lc))->worker_pid);
	log_noted = noted = true;
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
		wake_note_process(link->worker_pid);
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
		note_log_written();
}

/* ---------- the end of the transaction ---------- */

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
	const bool	is_link = !is_notifier(launch);

	if (!is_link)
		notifier_launched = GetCurrentTimestamp();
	if (is_link ? launch_link_worker(launch->link, launch->role, launch->wait_for_predecessor) : launch_notifier())
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 is_link ?
			 errmsg("the worker of link \"%s\" could not be started: there is no room for another background worker",
					launch->link) :
			 errmsg("the notifier could not be started: there is no room for another background worker"),
			 errhint_call("Raise \"max_worker_processes\". Until then the link is served by CALL sync_exchange().")));
}

static void
at_commit(void)
{
	ListCell   *lc;

	foreach(lc, processes)
		wake_process(lfirst_int(lc));
	foreach(lc, launches)
		start_noted(lfirst(lc));
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (!noted)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			at_commit();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	noted = log_noted = false;
	captured_noted[0] = '\0';
	/* the memory goes with the transaction */
	processes = NIL;
	launches = NIL;
}

/* ---------- COMMIT PREPARED ---------- */

static bool
is_commit_prepared(const PlannedStmt *pstmt)
{
	return IsA(pstmt->utilityStmt, TransactionStmt) &&
		((const TransactionStmt *) pstmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
utility_hook(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			 DestReceiver *dest, QueryCompletion *completion)
{
	/* the statement may be gone afterwards */
	const bool	wakes = is_commit_prepared(pstmt);

	if (next_utility_hook != NULL)
		next_utility_hook(pstmt, query, read_only_tree, context, params, environment, dest,
						  completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);
	if (wakes && extension_is_here())
		note_log_written();
}

void
wake_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
	change_log_hook = note_entry;
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
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	layout_deform(layout_of(trigger->tg_relation), RelationGetDescr(trigger->tg_relation), tuple,
				  values, isnull);
	row->name = TextDatumGetCString(values[LINK_NAME - 1]);
	row->owner = role_of_name(TextDatumGetCString(values[LINK_OWNER - 1]));
	row->enabled = DatumGetBool(values[LINK_ENABLED - 1]);
	row->worker_pid = isnull[LINK_WORKER_PID - 1] ? 0 : DatumGetInt32(values[LINK_WORKER_PID - 1]);
	row->relay = DatumGetBool(values[LINK_RELAY - 1]);
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
	wake_note_process(before.worker_pid);
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
