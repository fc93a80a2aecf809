/*
 * rematch.c
 *	  Building match keys, and looking again for what was written at once.
 *
 * CALL sync_rematch(entity) walks an entity's records in portions, a transaction each,
 * and table syncext.match_build says how far it has come; who calls it again after it was broken off goes
 * on there.  It begins when no transaction goes on that may not know of the rules.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hub/matching.h"
#include "hub/rematch.h"
#include "model/json.h"
#include "process/args.h"
#include "process/steps.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/hints.h"
#include "storage/locks.h"
#include "storage/match_build.h"
#include "storage/writers.h"

PG_FUNCTION_INFO_V1(sync_rematch);

/* Records of one transaction; and portions that maintenance builds of an entity. */
#define PORTION		1000
#define MAINTAIN_PORTIONS	20

/* ---------- records, one by one ---------- */

/* The open tables, while records are looked at. */
typedef struct Looking
{
	Matching   *matching;
	Canonical  *canonical;
	MemoryContext each;
} Looking;

static void
look_begin(Looking *looking)
{
	looking->canonical = canonical_open(true);
	looking->matching = matching_open();
	looking->each = AllocSetContextCreate(CurrentMemoryContext, "syncext match",
										  ALLOCSET_DEFAULT_SIZES);
}

static void
look_end(Looking *looking)
{
	MemoryContextDelete(looking->each);
	matching_close(looking->matching);
	canonical_close(looking->canonical);
}

static bool
rebuild(Looking *looking, const Entity *entity, const char *external_id)
{
	MemoryContext outer = MemoryContextSwitchTo(looking->each);
	bool		there;

	CHECK_FOR_INTERRUPTS();
	there = matching_rebuild(looking->matching, looking->canonical, entity, external_id);
	MemoryContextSwitchTo(outer);
	MemoryContextReset(looking->each);
	return there;
}

/* ---------- a portion ---------- */

typedef enum Built
{
	BUILT_ALL,
	BUILT_PORTION,
	BUILT_BUSY					/* a transaction has to end first */
} Built;

/* Keys that no record and no rule has any more, which records one by one don't tell of. */
static void
remove_strays(const char *entity)
{
	(void) owner_execute("DELETE FROM syncext.match_key k WHERE k.entity = %s "
						 "AND NOT EXISTS (SELECT FROM syncext.canonical r WHERE r.entity = k.entity AND r.external_id = k.external_id)",
						 quote_literal_cstr(entity));
	(void) owner_execute("DELETE FROM syncext.match_key k WHERE k.entity = %s "
						 "AND NOT EXISTS (SELECT FROM syncext.match_rule m WHERE m.entity = k.entity AND m.name = k.rule)",
						 quote_literal_cstr(entity));
}

typedef struct Portion
{
	const char *entity;
	bool		one_by_one;		/* together it has failed */
	Built		built;
} Portion;

/* Build the keys of the next records, together or one by one; returns how many there are. */
static int
build_next_records(Looking *looking, const Portion *portion, const Entity *entity,
				   MatchBuild *build)
{
	RowsScan   *scan = canonical_scan_begin(looking->canonical, build->entity, build->after_id);
	MatchPortion *together = portion->one_by_one ? NULL :
		matching_portion_begin(looking->matching, looking->canonical, entity, build->after_id);
	int			n = 0;
	char	   *id;

	while (n < PORTION && canonical_scan_next(looking->canonical, scan, &id))
	{
		MemoryContext outer = MemoryContextSwitchTo(looking->each);

		CHECK_FOR_INTERRUPTS();
		build->records += together != NULL ? matching_portion_add(together, id) :
			matching_rebuild(looking->matching, looking->canonical, entity, id);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(looking->each);
		build->after_id = id;
		n++;
	}
	rows_scan_end(scan);
	if (together != NULL)
		matching_portion_end(together, n < PORTION);
	else
		remove_strays(portion->entity);
	return n;
}

static void
build_records(Portion *portion, const Entity *entity, MatchBuilds *builds, MatchBuild *build)
{
	Looking		looking;
	int			n;

	look_begin(&looking);
	n = build_next_records(&looking, portion, entity, build);
	build->candidates += matching_made(looking.matching);
	look_end(&looking);
	mapped_save(builds, build);
	portion->built = n < PORTION ? BUILT_ALL : BUILT_PORTION;
}

static void
build_portion(void *arg)
{
	Portion    *portion = arg;
	MatchBuilds *builds = mapped_open(&match_build_def, true);
	MatchBuild	build;
	const Entity *entity;

	portion->built = BUILT_ALL;
	if (match_build_hold(builds, portion->entity, &build))
	{
		if (build.after_id == NULL)
			(void) owner_execute("DELETE FROM syncext.match_problem p WHERE p.entity = %s",
								 quote_literal_cstr(portion->entity));
		if (build.after_id == NULL)
			build.after_id = "";
		/* as of now, that the build is held */
		entity = registry_entity(registry_get(), portion->entity);
		if (entity != NULL)
			build_records(portion, entity, builds, &build);
		if (portion->built == BUILT_ALL)
		{
			(void) mapped_remove(builds, &build);
		}
	}
	mapped_close(builds);
}

/* Has it begun, or may it? */
static bool
may_build(const char *entity)
{
	return owner_true("SELECT EXISTS (SELECT FROM syncext.match_build b WHERE b.entity = %s AND b.after_id IS NOT NULL)",
					  quote_literal_cstr(entity)) ||
		writers_wait(setting_maintain_lock_timeout);
}

/*
 * Build it together, and where another transaction has just added a key of a record, once
 * more one by one.  False: one holds a record for too long.
 */
static bool
try_portion(Portion *portion)
{
	ErrorData  *error = subxact_try(build_portion, portion);

	if (error == NULL)
		return true;
	portion->one_by_one = error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION;
	if (!portion->one_by_one && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	FreeErrorData(error);
	return portion->one_by_one && subxact_try_lock(build_portion, portion);
}

/* Build the next portion, in a transaction of its own. */
static Built
build_next(Maintenance *m, const char *entity)
{
	Portion		portion = {.entity = entity, .built = BUILT_BUSY};

	maintenance_begin(m);
	if (may_build(entity) && !try_portion(&portion))
		portion.built = BUILT_BUSY;
	maintenance_commit(m);
	return portion.built;
}

/* ---------- maintenance ---------- */

/* Records that are to be looked at again: what a statement returns, a list of RecordKey. */
static List *
records_of(Maintenance *m, const char *statement)
{
	List	   *records = NIL;

	SPI_connect();
	if (SPI_execute(statement, false, 0) < 0)
		elog(ERROR, "records could not be read");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(m->context);
		RecordKey  *key = palloc(sizeof(RecordKey));

		key->entity = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		key->external_id = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		records = lappend(records, key);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return records;
}

/* A portion of what was returned. */
typedef struct Sweep
{
	Maintenance *m;
	const char *statement;
	bool		again;			/* compute their keys, too */
	int			n;
} Sweep;

static void
look_again(void *arg)
{
	Sweep	   *sweep = arg;
	List	   *records = records_of(sweep->m, sweep->statement);
	const Registry *registry = registry_get();
	Looking		looking;

	sweep->n = list_length(records);
	if (records == NIL)
		return;
	look_begin(&looking);
	foreach_ptr(const RecordKey, key, records)
	{
		const Entity *entity = registry_entity(registry, key->entity);

		CHECK_FOR_INTERRUPTS();
		if (entity == NULL || entity->nmatches == 0)
			continue;
		if (sweep->again)
			(void) rebuild(&looking, entity, key->external_id);
		else
			matching_look(looking.matching, entity, key->external_id);
	}
	sweep->m->candidates += matching_made(looking.matching);
	look_end(&looking);
	list_free_deep(records);
}

static int
sweep_by(Maintenance *m, const char *statement, bool again)
{
	Sweep		sweep = {.m = m, .statement = statement, .again = again};

	maintenance_begin(m);
	if (!subxact_try_lock(look_again, &sweep))
	{
		sweep.n = 0;
		maintenance_waits(m, "match keys: a transaction is changing what is to be looked at again");
	}
	maintenance_commit(m);
	return sweep.n;
}

void
rematch_sweep(Maintenance *m)
{
	while (sweep_by(m, "DELETE FROM syncext.match_due d WHERE d.ctid = ANY (ARRAY(SELECT n.ctid FROM syncext.match_due n LIMIT 1000)) "
					"RETURNING d.entity, d.external_id", false) > 0)
		;
	(void) sweep_by(m, "DELETE FROM syncext.match_problem p RETURNING p.entity, p.external_id", true);
	maintenance_begin(m);
	(void) owner_execute("DELETE FROM syncext.match_candidate c WHERE 2 > "
						 "(SELECT count(*) FROM syncext.canonical r WHERE r.entity = c.entity "
						 "AND r.external_id IN (c.external_id, c.other_id) AND (NOT r.deleted OR c.status <> 'pending'))");
	maintenance_commit(m);
}

void
rematch_go_on(Maintenance *m)
{
	List	   *entities;

	maintenance_begin(m);
	entities = owner_texts("SELECT entity FROM syncext.match_build ORDER BY 1");
	maintenance_commit(m);
	foreach_ptr(char, entity, entities)
	{
		Built		built = BUILT_PORTION;

		if (lock_session(LOCK_REMATCH, lock_key(entity), false) != LOCK_TAKEN)
			continue;
		for (int i = 0; i < MAINTAIN_PORTIONS && built == BUILT_PORTION; i++)
			built = build_next(m, entity);
		lock_release(LOCK_REMATCH, lock_key(entity));
		if (built == BUILT_BUSY)
			maintenance_waits(m, "match keys of entity \"%s\": a transaction that is changing records goes on",
							  entity);
	}
}

/* ---------- the procedure ---------- */

static void
check_call(FunctionCallInfo fcinfo, const char *entity)
{
	steps_refuse_atomic(fcinfo, "sync_rematch()", "It commits between its portions.");
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("match keys cannot be built on a standby")));
	if (registry_entity_required(registry_get(), entity)->nmatches == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("entity \"%s\" has no match rule", entity),
				 errhint_call("Add one with SELECT sync_add_match(%s, …).", quote_literal_cstr(entity))));
	if (lock_session(LOCK_REMATCH, lock_key(entity), false) != LOCK_TAKEN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the match keys of entity \"%s\" are being built", entity),
				 errhint("Table syncext.match_build tells how far that is.")));
}

static void
raise_busy(const char *entity)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("the match keys of entity \"%s\" can be built when the transactions have ended that were changing records before",
					entity),
			 errhint_call("Try again: CALL sync_rematch(%s) goes on where it was.", quote_literal_cstr(entity))));
}

/* What was built by the call, or before it was broken off. */
static Jsonb *
built_jsonb(Maintenance *m, const char *entity)
{
	JsonbParseState *state = json_begin_object();

	maintenance_begin(m);
	json_push_number(&state, "keys", owner_number("SELECT count(*) FROM syncext.match_key k WHERE k.entity = %s", quote_literal_cstr(entity)));
	json_push_number(&state, "candidates", owner_number("SELECT count(*) FROM syncext.match_candidate c WHERE c.entity = %s AND c.status = 'pending'", quote_literal_cstr(entity)));
	maintenance_commit(m);
	return json_end_object(&state);
}

static void
run_portions(Maintenance *m, const char *entity)
{
	MatchBuilds *builds;
	Built		built;

	/* this transaction may have another isolation level, and an old snapshot */
	SPI_commit();
	maintenance_begin(m);
	builds = mapped_open(&match_build_def, true);
	match_build_add(builds, entity);
	mapped_close(builds);
	maintenance_commit(m);
	while ((built = build_next(m, entity)) == BUILT_PORTION)
		CHECK_FOR_INTERRUPTS();
	if (built == BUILT_BUSY)
		raise_busy(entity);
}

Datum
sync_rematch(PG_FUNCTION_ARGS)
{
	MemoryContext outer = CurrentMemoryContext;
	char	   *entity = arg_text(fcinfo, 0, "entity");
	Maintenance m = {.rotated_from = -1};
	Jsonb	   *result;

	check_call(fcinfo, entity);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	m.context = CurrentMemoryContext;
	run_portions(&m, entity);
	MemoryContextSwitchTo(outer);
	result = built_jsonb(&m, entity);
	SPI_finish();
	lock_release(LOCK_REMATCH, lock_key(entity));
	return steps_result(fcinfo, result);
}
