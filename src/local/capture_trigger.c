/*
 * capture_trigger.c
 *	  The triggers of attached tables, which fire local/capture.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "local/attached_relation.h"
#include "local/capture_trigger.h"
#include "local/own_trigger.h"
#include "storage/names.h"
#include "storage/relations.h"

static void
run_utility(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "%s failed: %s", sql, SPI_result_code_string(result));
}

/*
 * The relations that need a trigger against TRUNCATE: statement triggers of a
 * partitioned table see nothing of a TRUNCATE of one of its partitions.
 */
static List *
truncatable(Oid relid, LOCKMODE lockmode)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(relid);
	foreach(lc, find_all_inheritors(relid, lockmode, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_FOREIGN_TABLE)
			result = lappend_oid(result, lfirst_oid(lc));
	}
	return result;
}

/*
 * Without a statement: event triggers of others would run as our owner, by the names that
 * the user's search_path finds, in sync_attach and in whoever's CREATE TABLE it is that makes
 * a partition.
 */
static void
make_trigger(Oid relid, char *name, int16 timing, int16 events, bool row)
{
	CreateTrigStmt *trigger = makeNode(CreateTrigStmt);

	trigger->trigname = name;
	trigger->row = row;
	trigger->timing = timing;
	trigger->events = events;
	CreateTriggerFiringOn(trigger, NULL, relid, InvalidOid, InvalidOid, InvalidOid,
						  attached_capture_function(), InvalidOid, NULL, false, false,
						  TRIGGER_FIRES_ALWAYS);
	CommandCounterIncrement();
}

/* Without a statement, for the same reason. */
static void
remove_trigger(Oid trigger)
{
	const ObjectAddress object = {.classId = TriggerRelationId, .objectId = trigger};

	performDeletion(&object, DROP_RESTRICT, 0);
	CommandCounterIncrement();
}

static void
create_truncate_trigger(Oid relid)
{
	Oid			capture = get_trigger_oid(relid, CAPTURE_TRIGGER_NAME, true);
	Oid			truncate = get_trigger_oid(relid, TRUNCATE_TRIGGER_NAME, true);

	if (OidIsValid(truncate) && truncate > capture)
		return;
	/* it is older than the row trigger: the table left, and is back */
	if (OidIsValid(truncate))
		remove_trigger(truncate);
	make_trigger(relid, TRUNCATE_TRIGGER_NAME, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_TRUNCATE, false);
}

static void
create_truncate_triggers(Oid relid, LOCKMODE lockmode)
{
	ListCell   *lc;

	foreach(lc, truncatable(relid, lockmode))
		create_truncate_trigger(lfirst_oid(lc));
}

static bool
has_capture_trigger(Oid relid)
{
	Oid			capture = attached_capture_function();
	Relation	rel = relation_open(relid, AccessShareLock);
	const TriggerDesc *triggers = rel->trigdesc;
	bool		has = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		has |= triggers->triggers[i].tgfoid == capture &&
			strcmp(triggers->triggers[i].tgname, CAPTURE_TRIGGER_NAME) == 0;
	relation_close(rel, NoLock);
	return has;
}

bool
capture_triggers_is_captured(Oid relid)
{
	Oid			capture = attached_capture_function();
	Relation	rel = try_relation_open(relid, AccessShareLock);
	const TriggerDesc *triggers = rel == NULL ? NULL : rel->trigdesc;
	bool		captured = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		captured |= own_trigger_is(&triggers->triggers[i], capture) &&
			strcmp(triggers->triggers[i].tgname, CAPTURE_TRIGGER_NAME) == 0 &&
			triggers->triggers[i].tgenabled == TRIGGER_FIRES_ALWAYS;
	if (rel != NULL)
		relation_close(rel, NoLock);
	return captured;
}

/*
 * Put the triggers on the table.  Our owner creates them, who needs no right on it.
 * They fire always, as a row that logical replication
 * writes is a row of the source's copy like any other.
 */
static void
create_triggers(Oid relid)
{
	/* of a table that was restored alone, say */
	if (has_capture_trigger(relid))
		remove_trigger(get_trigger_oid(relid, CAPTURE_TRIGGER_NAME, false));
	make_trigger(relid, CAPTURE_TRIGGER_NAME, TRIGGER_TYPE_AFTER,
				 TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE, true);
	create_truncate_triggers(relid, ShareRowExclusiveLock);
}

/* Act as the tables' owner, whose the trigger function is, too, for a while. */
static void
as_owner(void (*act) (Oid relid), Oid relid)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(registry_owner(), security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	act(relid);
	SetUserIdAndSecContext(user, security);
}

static void
complete_triggers(Oid relid)
{
	create_truncate_triggers(relid, AccessShareLock);
}

void
capture_triggers_complete(Oid relid)
{
	as_owner(complete_triggers, relid);
}

/* Who made it in this transaction holds it alone: there is no lock to wait for. */
void
capture_triggers_complete_made(Oid relid)
{
	as_owner(create_truncate_trigger, relid);
}

void
capture_triggers_create(Oid relid)
{
	as_owner(create_triggers, relid);
}

static void
drop_trigger(Oid relid, const char *trigger)
{
	if (OidIsValid(get_trigger_oid(relid, trigger, true)))
		run_utility(psprintf("DROP TRIGGER %s ON %s", trigger, names_of_relation(relid)));
}

void
capture_triggers_drop(Oid relid)
{
	ListCell   *lc;

	SPI_connect();
	drop_trigger(relid, CAPTURE_TRIGGER_NAME);
	foreach(lc, truncatable(relid, AccessExclusiveLock))
		drop_trigger(lfirst_oid(lc), TRUNCATE_TRIGGER_NAME);
	SPI_finish();
}
