-- Who may do what with all of the above.  This is the whole of it, whatever the
-- default privileges of who creates the extension would add or take: what isn't
-- named here is its owner's alone, to use or to grant.

DO $$
DECLARE
	o record;
BEGIN
	FOR o IN
		SELECT i.type, i.identity, quote_ident(r.rolname) AS grantee
		FROM pg_depend d
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
		LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
		LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
		CROSS JOIN LATERAL (
			SELECT 'public' AS rolname
			UNION ALL
			SELECT a.rolname
			FROM aclexplode(coalesce(c.relacl, p.proacl, n.nspacl)) x
			JOIN pg_roles a ON a.oid = x.grantee
			WHERE x.grantee <> coalesce(c.relowner, p.proowner, n.nspowner)) r
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		  AND i.type IN ('table', 'view', 'sequence', 'function', 'procedure', 'schema')
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE',
		               CASE o.type WHEN 'view' THEN 'table' WHEN 'function' THEN 'routine' WHEN 'procedure' THEN 'routine' ELSE o.type END,
		               o.identity, o.grantee);
	END LOOP;
END $$;

GRANT USAGE ON SCHEMA syncext TO PUBLIC;

-- Each row or answer is only for who may see it.
GRANT SELECT ON syncext.history, syncext.link_status, syncext.problem TO PUBLIC;
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_check(),
	@extschema@.sync_history(text, text),
	@extschema@.sync_record(text, text),
	syncext.cron_job_active(text, text),
	syncext.may_see(text, text, text, jsonb),
	syncext.problems(),
	syncext.link_activity(),
	syncext.is_told("char", boolean),
	syncext.may_act_as(text)
TO PUBLIC;

-- What a source calls; they ask for its role.
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_ack(text, bigint, jsonb, integer),
	@extschema@.sync_apply(jsonb),
	@extschema@.sync_deliver(text, integer),
	@extschema@.sync_explain(jsonb),
	@extschema@.sync_pull(text, integer, integer, integer),
	@extschema@.sync_push(text, text, jsonb),
	syncext.hub_ack(text, bigint, jsonb),
	syncext.hub_behind(text),
	syncext.hub_compare(text, text, jsonb, timestamptz, boolean),
	syncext.hub_hello(text, jsonb),
	syncext.hub_listen(text),
	syncext.hub_pull(text, integer, integer)
TO PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.sync_exchange(text, jsonb) TO PUBLIC;

-- What the owner of a relation calls; they ask for that, and for the source's role.
GRANT EXECUTE ON FUNCTION
	@extschema@.sync_attach(regclass, text, text, text[], jsonb, text, text, text, text, text),
	@extschema@.sync_detach(regclass),
	@extschema@.sync_schedule(regclass, text, text),
	@extschema@.sync_unschedule(regclass)
TO PUBLIC;
GRANT EXECUTE ON PROCEDURE
	@extschema@.sync_load(regclass, text, boolean, jsonb),
	@extschema@.sync_poll(regclass, boolean, jsonb),
	syncext.catch_up(jsonb),
	syncext.run_job(regclass, text, bigint, jsonb)
TO PUBLIC;

-- What reads nothing but its arguments and the settings.
GRANT EXECUTE ON FUNCTION
	syncext.callable(text),
	syncext.cron_error(text),
	syncext.cron_last_due(text, timestamptz),
	syncext.duration(text),
	syncext.filter_error(jsonpath, jsonb),
	syncext.identity_case(jsonb, jsonb, boolean, boolean),
	syncext.ladder_error(text[]),
	syncext.record_slot(text, text, integer),
	syncext.is_own_column(text, text),
	syncext.resolution_name("char"),
	syncext.told_name("char")
TO PUBLIC;
