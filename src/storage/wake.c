/*
 * wake.c
 *	  Telling the workers, at commit, that there is something for them.
 *
 * Called by storage/change_log for each row that is appended, and by the trigger
 * on syncext.link.  A transaction notes whom to wake while it can still read the
 * tables; after its commit the latches are set, and nothing else is done: it
 * takes no lock and fails in no way.  A worker that started in between isn't
 * known to the transaction; it looks by itself when it starts, and every second.
 *
 * What COMMIT PREPARED makes visible was noted by a transaction that ended
 * before: it wakes everybody.  A session that has not loaded the library doesn't
 * even do that, and the workers' own look finds it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "storage/launch.h"
#include "storage/link.h"
#include "storage/registry.h"
#include "storage/wake.h"

PG_FUNCTION_INFO_V1(syncext_link_changed);

/* A worker to be started. */
typedef struct Launch
{
	Oid			role;
	char		link[NAMEDATALEN];	/* empty: the notifier */
} Launch;

/* What the transaction has noted.  The lists are in TopTransactionContext. */
static bool noted = false;
static bool log_noted = false;
static char captured_noted[NAMEDATALEN] = "";	/* the source noted last */
static List *processes = NIL;	/* of int */
static List *launches = NIL;	/* of Launch * */

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

static void
note_launch(const char *link, Oid role)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Launch	   *launch = palloc0(sizeof(Launch));

	launch->role = role;
	strlcpy(launch->link, link, sizeof(launch->link));
	launches = lappend(launches, launch);
	MemoryContextSwitchTo(old);
	noted = true;
}

void
wake_note_launch(const char *link, Oid role)
{
	note_launch(link, role);
}

void
wake_note_launch_notifier(void)
{
	note_launch("", InvalidOid);
}

/* A link's source is one of those that are told, if it holds no table here. */
void
wake_note_log_written(void)
{
	ListCell   *lc;

	if (log_noted)
		return;
	wake_note_process(registry_get()->notifier_pid);
	foreach(lc, link_list())
		wake_note_process(((const Link *) lfirst(lc))->worker_pid);
	log_noted = noted = true;
}

void
wake_note_captured(const char *source)
{
	const Link *link;

	if (strcmp(captured_noted, source) == 0)
		return;
	link = link_of_source(source);
	if (link != NULL)
		wake_note_process(link->worker_pid);
	strlcpy(captured_noted, source, sizeof(captured_noted));
	noted = true;
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
	const bool	is_link = launch->link[0] != '\0';

	if (is_link ? launch_link_worker(launch->link, launch->role) : launch_notifier())
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 is_link ?
			 errmsg("the worker of link \"%s\" could not be started: there is no room for another background worker",
					launch->link) :
			 errmsg("the notifier could not be started: there is no room for another background worker"),
			 errhint("Raise \"max_worker_processes\". Until then the link is served by CALL sync_exchange().")));
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

/* With shared_preload_libraries the library is where the extension isn't. */
static bool
extension_is_here(void)
{
	Oid			schema = get_namespace_oid("syncext", true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("link", schema));
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
		wake_note_log_written();
}

void
wake_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
}

/* ---------- links that change ---------- */

/* A column of the link, as text in the current memory context; NULL if null. */
static char *
column_text(TriggerData *trigger, HeapTuple row, const char *name)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	return SPI_getvalue(row, desc, SPI_fnumber(desc, name));
}

static Datum
column_datum(TriggerData *trigger, HeapTuple row, const char *name, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	return SPI_getbinval(row, desc, SPI_fnumber(desc, name), isnull);
}

/*
 * Trigger on syncext.link, by row, for what its worker has to know of: wakes the
 * worker that there is, and starts one where there is none.
 */
Datum
syncext_link_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	bool		gone;
	bool		isnull;
	Datum		value;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("link_changed() is a trigger function, by row")));
	gone = TRIGGER_FIRED_BY_DELETE(trigger->tg_event);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	value = column_datum(trigger, row, "worker_pid", &isnull);
	if (!isnull)
		wake_note_process(DatumGetInt32(value));
	value = column_datum(trigger, row, "enabled", &isnull);
	if (!gone && !isnull && DatumGetBool(value))
		wake_note_launch(column_text(trigger, row, "name"),
						 DatumGetObjectId(column_datum(trigger, row, "owner", &isnull)));
	return PointerGetDatum(NULL);
}
