/*
 * compat.h
 *	  Differences between PostgreSQL 15, 16, 17 and 18: the only file that
 *	  looks at PG_VERSION_NUM.
 *
 * Each helper that is our own ends in _compat and names the release, and where it is
 * known the server's commit, that made the difference.
 */
#ifndef SYNCEXT_COMPAT_H
#define SYNCEXT_COMPAT_H

#include "access/tableam.h"
#include "nodes/pg_list.h"

#if PG_VERSION_NUM < 150000
#error "syncext needs PostgreSQL 15 or newer"
#endif

/* 17 has loops that declare what they run over (14dd0f27d7cd). */
#if PG_VERSION_NUM < 170000
#define foreach_ptr(type, var, lst) \
	for (type *var = 0, *var##__outerloop = (type *) 1; var##__outerloop; var##__outerloop = 0) \
		for (ForEachState var##__state = {(lst), 0}; \
			 var##__state.l != NIL && var##__state.i < var##__state.l->length && \
			 (var = (type *) lfirst(&var##__state.l->elements[var##__state.i]), true); \
			 var##__state.i++)
#endif

/* 16 has EvalPlanQualInit() told of the result relations (70b42f279093). */
#if PG_VERSION_NUM >= 160000
#define EvalPlanQualInit_compat(epqstate, estate) \
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1, NIL)
#else
#define EvalPlanQualInit_compat(epqstate, estate) \
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1)
#endif

/*
 * 16 moved permission data out of the range table (a61b1f74823c); 18 wants to
 * know which relations were not pruned (525392d5727f).
 */
#if PG_VERSION_NUM >= 180000
#define ExecInitRangeTable_compat(estate, rtes, perminfos) \
	ExecInitRangeTable(estate, rtes, perminfos, bms_make_singleton(1))
#elif PG_VERSION_NUM >= 160000
#define ExecInitRangeTable_compat(estate, rtes, perminfos) \
	ExecInitRangeTable(estate, rtes, perminfos)
#else
#define ExecInitRangeTable_compat(estate, rtes, perminfos) \
	ExecInitRangeTable(estate, rtes)
#endif

#if PG_VERSION_NUM >= 160000
#define HAVE_RTE_PERMISSION_INFO 1
#endif

/* 16: an update may touch summarizing indexes alone (19d8e2308bc5). */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes UpdateIndexes_compat;
#define update_indexes_any_compat(u)	((u) != TU_None)
#define ExecInsertIndexTuples_compat(rri, slot, estate, update, nodup, conflict, arbiters, indexes) \
	ExecInsertIndexTuples(rri, slot, estate, update, nodup, conflict, arbiters, \
						  (indexes) == TU_Summarizing)
#define UPDATE_INDEXES_ALL_COMPAT	TU_All
#else
typedef bool UpdateIndexes_compat;
#define update_indexes_any_compat(u)	(u)
#define ExecInsertIndexTuples_compat(rri, slot, estate, update, nodup, conflict, arbiters, indexes) \
	ExecInsertIndexTuples(rri, slot, estate, update, nodup, conflict, arbiters)
#define UPDATE_INDEXES_ALL_COMPAT	true
#endif

/* 17: BRIN's map of ranges takes no snapshot. */
#if PG_VERSION_NUM >= 170000
#define brinRevmapInitialize_compat(index, pages_per_range) brinRevmapInitialize(index, pages_per_range)
#define brinGetTupleForHeapBlock_compat(revmap, page, buffer, offset, size) \
	brinGetTupleForHeapBlock(revmap, page, buffer, offset, size, BUFFER_LOCK_SHARE)
#else
#define brinRevmapInitialize_compat(index, pages_per_range) \
	brinRevmapInitialize(index, pages_per_range, NULL)
#define brinGetTupleForHeapBlock_compat(revmap, page, buffer, offset, size) \
	brinGetTupleForHeapBlock(revmap, page, buffer, offset, size, BUFFER_LOCK_SHARE, NULL)
#endif

/* 18 asks for the tid of a tuple that doesn't count. */
#if PG_VERSION_NUM >= 180000
#define ExecCheckIndexConstraints_compat(rri, slot, estate, conflict, arbiters) \
	ExecCheckIndexConstraints(rri, slot, estate, conflict, NULL, arbiters)
#else
#define ExecCheckIndexConstraints_compat(rri, slot, estate, conflict, arbiters) \
	ExecCheckIndexConstraints(rri, slot, estate, conflict, arbiters)
#endif

/* 18: index scans can be instrumented (0fbceae841cb). */
#if PG_VERSION_NUM >= 180000
#define index_beginscan_compat(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define index_beginscan_compat(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 16: one function for all kinds of objects (afbfc02983f8). */
#if PG_VERSION_NUM >= 160000
#define relation_ownercheck_compat(relid, role) \
	object_ownercheck(RelationRelationId, relid, role)
#else
#define relation_ownercheck_compat(relid, role) pg_class_ownercheck(relid, role)
#endif

/* 18 has to be told whether a deferrable primary key will do. */
#if PG_VERSION_NUM >= 180000
#define RelationGetPrimaryKeyIndex_compat(rel)	RelationGetPrimaryKeyIndex(rel, false)
#else
#define RelationGetPrimaryKeyIndex_compat(rel)	RelationGetPrimaryKeyIndex(rel)
#endif

/* 16 has to be told whether the value is to be a copy; it always was before. */
#if PG_VERSION_NUM >= 160000
#define tuplesort_getdatum_compat(state, value, isnull) \
	tuplesort_getdatum(state, true, true, value, isnull, NULL)
#else
#define tuplesort_getdatum_compat(state, value, isnull) \
	tuplesort_getdatum(state, true, value, isnull, NULL)
#endif

/* 17 has to be told whether a stronger mode will do. */
#if PG_VERSION_NUM >= 170000
#define LockHeldByMe_compat(tag, mode)	LockHeldByMe(tag, mode, false)
#else
#define LockHeldByMe_compat(tag, mode)	LockHeldByMe(tag, mode)
#endif

/* 16: one function for rights to all kinds of objects (c727f511bd7b). */
#if PG_VERSION_NUM >= 160000
#define server_usable_compat(server, role) \
	(object_aclcheck(ForeignServerRelationId, server, role, ACL_USAGE) == ACLCHECK_OK)
#define database_connectable_compat(database, role) \
	(object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK)
#define schema_usable_compat(schema, role) \
	(object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK)
#define function_callable_compat(function, role) \
	(object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#else
#define schema_usable_compat(schema, role) \
	(pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK)
#define function_callable_compat(function, role) \
	(pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#define database_connectable_compat(database, role) \
	(pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK)
#define server_usable_compat(server, role) \
	(pg_foreign_server_aclcheck(server, role, ACL_USAGE) == ACLCHECK_OK)
#endif

/* 16: the server's own helper for extensions that use libpq. */
#if PG_VERSION_NUM >= 160000
#define HAVE_LIBPQ_BE_FE_HELPERS 1
#endif

/* Not the server's: glibc can tell how much memory it has handed out, since 2.33. */
#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 33)
#define HAVE_MALLINFO2 1
#endif
#endif

/* 16 took the macros for variable-length values out of postgres.h (d952373a987b). */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 passes the permissions apart from the range table (a61b1f74823c). */
#if PG_VERSION_NUM >= 160000
#define ExecutorCheckPerms_compat_args	List *range_table, List *permissions, bool raise
#define ExecutorCheckPerms_compat_pass	range_table, permissions, raise
#else
#define ExecutorCheckPerms_compat_args	List *range_table, bool raise
#define ExecutorCheckPerms_compat_pass	range_table, raise
#endif

/*
 * 16 hides the array of parameters in a hash table, and hands out one of them
 * (3057465acfbe).  Needs utils/guc_tables.h.
 */
#if PG_VERSION_NUM >= 160000
#define find_guc_compat(name)	find_option(name, false, true, ERROR)
#else
#define HAVE_GUC_ARRAY 1
#endif

/* 18: a prefix, as C23 has it, took the place of an attribute behind the function. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* A CHECK may be NOT ENFORCED since 18. */
#if PG_VERSION_NUM >= 180000
#define check_is_enforced_compat(check)	((check)->ccenforced)
#else
#define check_is_enforced_compat(check)	true
#endif

/* 17 has a registry of shared memory that is made when it is asked for (8b2bcf3f287c). */
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#define HAVE_NAMED_DSM_COMPAT 1
#endif

/* 17 can give a generated column another expression. */
#if PG_VERSION_NUM >= 170000
#define is_set_expression_compat(cmd)	((cmd)->subtype == AT_SetExpression)
#else
#define is_set_expression_compat(cmd)	false
#endif

#endif							/* SYNCEXT_COMPAT_H */
