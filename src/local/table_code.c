/*
 * table_code.c
 *	  Running the code of attached relations as their owner, and as nobody else.
 *
 * The server's own SECURITY_RESTRICTED_OPERATION keeps code from leaving anything
 * behind, but forbids to defer a constraint.  Where tables have deferrable
 * constraints, the same commands are refused here instead, and the constraints are
 * checked, restricted by the server, before the section ends.
 *
 * A bit of the security context tells that a section is under way: it comes and goes
 * with it, also after an error, and nested contexts inherit it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "local/constraints.h"
#include "local/search_path.h"
#include "local/table_code.h"
#include "local/value.h"
#include "process/for_now.h"
#include "process/utility_hook.h"

/* Of the security context, beside the server's own bits. */
#define SECURITY_TABLE_CODE		0x10000
#define SECURITY_TABLE_DEFERS	0x20000 /* what the server doesn't restrict, we do */

static ProcessUtility_hook_type next_utility_hook = NULL;
static post_parse_analyze_hook_type next_analyze_hook = NULL;
static ExecutorCheckPerms_hook_type next_perms_hook = NULL;

static int
security_context(void)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	return security;
}

/* ---------- commands that leave something behind ---------- */

static bool
is_temporary(const RangeVar *relation)
{
	Oid			schema;

	if (relation == NULL)
		return false;
	if (relation->relpersistence == RELPERSISTENCE_TEMP)
		return true;
	if (relation->schemaname == NULL)
		return false;
	schema = get_namespace_oid(relation->schemaname, true);
	return strcmp(relation->schemaname, "pg_temp") == 0 ||
		(OidIsValid(schema) && isTempNamespace(schema));
}

static bool
creates_temporary(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			return is_temporary(((const CreateStmt *) statement)->relation);
		case T_CreateTableAsStmt:
			return is_temporary(((const CreateTableAsStmt *) statement)->into->rel);
		case T_ViewStmt:
			return is_temporary(((const ViewStmt *) statement)->view);
		case T_CreateSeqStmt:
			return is_temporary(((const CreateSeqStmt *) statement)->sequence);
		default:
			return false;
	}
}

/* The command's name, if the server would restrict it; else NULL. */
static const char *
restricted_command(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_PrepareStmt:
			return "PREPARE";
		case T_DeallocateStmt:
			return "DEALLOCATE";
		case T_DiscardStmt:
			return "DISCARD";
		case T_ListenStmt:
			return "LISTEN";
		case T_UnlistenStmt:
			return "UNLISTEN";
		case T_ClosePortalStmt:
			return ((const ClosePortalStmt *) statement)->portalname == NULL ? "CLOSE" : NULL;
		case T_DeclareCursorStmt:
			return (((const DeclareCursorStmt *) statement)->options & CURSOR_OPT_HOLD) != 0 ?
				"DECLARE CURSOR ... WITH HOLD" : NULL;
		default:
			return NULL;
	}
}

static void
refuse_restricted(const Node *statement)
{
	const char *command = restricted_command(statement);

	if (creates_temporary(statement))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot create temporary table within security-restricted operation")));
	if (command != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot execute %s within security-restricted operation", command)));
}

/*
 * The state is the caller's, and so may be what waits for it.  It can be set where it
 * is set back afterwards; see table_code_needs_deferring().
 */
static void
refuse_set_constraints(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot execute %s within security-restricted operation", "SET CONSTRAINTS")));
}

/* ---------- this session's temporary objects ---------- */

/*
 * Code of the owner must not meet what another role has put into this session: a
 * name that stands nowhere else is looked up there, and what hangs on it would run as
 * the owner.
 */
static void
refuse_temporary(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (isTempNamespace(form->relnamespace) && !has_privs_of_role(form->relowner, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("temporary table \"%s\" of this session is out of reach of an attached relation's code",
						NameStr(form->relname)),
				 errhint("Have the code name its own table with its schema.")));
	ReleaseSysCache(tuple);
}

static bool
has_temporary_schema(void)
{
	Oid			schema;
	Oid			toast;

	GetTempNamespaceState(&schema, &toast);
	return OidIsValid(schema);
}

static bool
refuse_temporary_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		const RangeTblEntry *rte = (const RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION)
			refuse_temporary(rte->relid);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, refuse_temporary_walker, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, refuse_temporary_walker, context);
}

static void
refuse_truncate(const TruncateStmt *statement)
{
	ListCell   *lc;

	foreach(lc, statement->relations)
	{
		Oid			relid = RangeVarGetRelid(lfirst(lc), NoLock, true);

		if (OidIsValid(relid))
			refuse_temporary(relid);
	}
}

/* A type stands by itself in the schema: its constraints would run as the owner. */
static bool
is_strangers_type(const FormData_pg_depend *dependency, Oid owner)
{
	HeapTuple	tuple;
	bool		strange;

	if (dependency->classid != TypeRelationId)
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(dependency->objid));
	if (!HeapTupleIsValid(tuple))
		return false;
	strange = !has_privs_of_role(((Form_pg_type) GETSTRUCT(tuple))->typowner, owner);
	ReleaseSysCache(tuple);
	return strange;
}

static bool
has_strangers_types(Oid schema, Oid owner)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		any = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(NamespaceRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, keys);
	while (!any && HeapTupleIsValid(tuple = systable_getnext(scan)))
		any = is_strangers_type((Form_pg_depend) GETSTRUCT(tuple), owner);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return any;
}

static void
check_temporary_types(Oid owner)
{
	Oid			schema;
	Oid			toast;

	GetTempNamespaceState(&schema, &toast);
	if (OidIsValid(schema) && has_strangers_types(schema, owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("code of role \"%s\" does not run in a session that has temporary types of another role",
						GetUserNameFromId(owner, true)),
				 errhint("DISCARD TEMP, or deliver in another session.")));
}

/* ---------- hooks ---------- */

static void
utility_hook(utility_hook_args)
{
	const int	security = security_context();

	if (security & SECURITY_TABLE_DEFERS)
		refuse_restricted(pstmt->utilityStmt);
	if ((security & SECURITY_TABLE_CODE) && IsA(pstmt->utilityStmt, TruncateStmt))
		refuse_truncate(castNode(TruncateStmt, pstmt->utilityStmt));
	if (IsA(pstmt->utilityStmt, ConstraintsSetStmt))
	{
		if (!(security & SECURITY_TABLE_CODE))
			constraints_note(castNode(ConstraintsSetStmt, pstmt->utilityStmt));
		else if (!(security & SECURITY_TABLE_DEFERS))
			refuse_set_constraints();
	}
	utility_hook_next(next_utility_hook, utility_hook_pass);
}

/* Before the statement is planned: that may call functions of a view already. */
static void
analyze_hook(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (next_analyze_hook != NULL)
		next_analyze_hook(pstate, query, jumble);
	if ((security_context() & SECURITY_TABLE_CODE) && has_temporary_schema())
		(void) refuse_temporary_walker((Node *) query, NULL);
}

/* And when it runs: it may have been analyzed long ago. */
static bool
perms_hook(ExecutorCheckPerms_compat_args)
{
	ListCell   *lc;

	if (next_perms_hook != NULL && !next_perms_hook(ExecutorCheckPerms_compat_pass))
		return false;
	if (!(security_context() & SECURITY_TABLE_CODE) || !has_temporary_schema())
		return true;
	foreach(lc, range_table)
		(void) refuse_temporary_walker(lfirst(lc), NULL);
	return true;
}

void
table_code_init(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
	next_analyze_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = analyze_hook;
	next_perms_hook = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = perms_hook;
}

/* ---------- sections ---------- */

void
table_code_enter(TableCode *code, Oid owner, TableCodeMode mode)
{
	const char *search_path = VALUE_SEARCH_PATH;
	int			security;

	if (mode != TABLE_CODE_LOOKUP)
	{
		search_path = search_path_of_role(owner);
		check_temporary_types(owner);
	}
	code->owner = owner;
	code->mode = mode;
	code->nest_level = NewGUCNestLevel();
	GetUserIdAndSecContext(&code->user, &code->security);
	security = code->security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
		SECURITY_TABLE_CODE;
	security |= mode == TABLE_CODE_DEFERRING ? SECURITY_TABLE_DEFERS : SECURITY_RESTRICTED_OPERATION;
	SetUserIdAndSecContext(owner, security);
	set_for_now("search_path", search_path);
}

void
table_code_leave(TableCode *code)
{
	if (code->mode == TABLE_CODE_DEFERRING)
	{
		/* from here on nothing more may be deferred */
		SetUserIdAndSecContext(code->owner, security_context() | SECURITY_RESTRICTED_OPERATION);
		constraints_check();
	}
	AtEOXact_GUC(false, code->nest_level);
	SetUserIdAndSecContext(code->user, code->security);
}

/* ---------- whether there is any ---------- */

bool
table_code_reads_quietly(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (rel->rd_rel->relkind == RELKIND_VIEW || rel->rd_rel->relrowsecurity)
		return false;
	/* users' own types have functions and constraints of theirs */
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped &&
			TupleDescAttr(desc, i)->atttypid >= FirstNormalObjectId)
			return false;
	return true;
}

/* ---------- errors ---------- */

static bool
is_from(const ErrorData *error, const char *function)
{
	return error->funcname != NULL && strcmp(error->funcname, function) == 0;
}

bool
table_code_needs_deferring(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE &&
		(is_from(error, "afterTriggerMarkEvents") || is_from(error, "refuse_set_constraints"));
}

bool
table_code_raised(const ErrorData *error)
{
	/* nobody but the server cancels a statement, and in one place */
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return !is_from(error, "ProcessInterrupts");
	/* PL/pgSQL, PL/Python, PL/Perl, PL/Tcl */
	return is_from(error, "exec_stmt_raise") || is_from(error, "exec_stmt_assert") ||
		is_from(error, "PLy_output") || is_from(error, "PLy_elog_impl") ||
		is_from(error, "plperl_call_perl_func") || is_from(error, "plperl_call_perl_trigger_func") ||
		is_from(error, "throw_tcl_error");
}
