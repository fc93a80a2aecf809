-- Comments on columns.  What is peculiar to a table stands beside it; here is what
-- a name says wherever it occurs, and the rest.

DO $$
DECLARE
	o record;
BEGIN
	FOR o IN
		WITH said (relation, name, comment) AS (VALUES
			-- a name, wherever it stands
			('', 'added_at', 'when it was added'),
			('', 'attempts', 'how often it was tried'),
			('', 'base', 'the row version that the change was made on; null: it said none'),
			('', 'batch', 'the number of the batch that it is in; null: in none'),
			('', 'change_id', 'the changeId of the document'),
			('', 'dead', 'dead letters'),
			('', 'deleted', 'it is a tombstone'),
			('', 'detail', 'what else of the document counted, and why it was decided so: base, updatedAt, fields that lost, a reason'),
			('', 'entity', 'the kind of record'),
			('', 'error', 'the last error; null: there was none'),
			('', 'external_id', 'the record''s id, which all sources know it by'),
			('', 'failures', 'failures in a row'),
			('', 'field', 'the name of the field'),
			('', 'fields', 'the fields: name: value'),
			('', 'hint', 'what to do about it'),
			('', 'id', 'its number'),
			('', 'job', 'poll, deliver, load or, of a schedule, both'),
			('', 'last_error', 'the last error; null: there was none'),
			('', 'last_error_at', 'when that was'),
			('', 'last_source', 'the source of the last change that counted'),
			('', 'link', 'the link''s name'),
			('', 'linked_at', 'when it was linked'),
			('', 'name', 'its name, which stays'),
			('', 'next_attempt', 'when it is tried again; null: it need not be'),
			('', 'parent', 'the entity that the field names a record of'),
			('', 'parent_entity', 'the entity of the record that is referred to'),
			('', 'parent_id', 'the external id of the record that is referred to'),
			('', 'pid', 'the process that does it; null: none'),
			('', 'priority', 'the lower number wins'),
			('', 'progress_at', 'when that was noted'),
			('', 'recorded_at', 'when it was recorded'),
			('', 'relation', 'the attached relation'),
			('', 'resolution', 'how it was decided: the rung of the ladder that did, or what else closed it'),
			('', 'retries', 'deliveries that failed and come again'),
			('', 'role', 'the role that it runs as'),
			('', 'row_version', 'the record''s row version then'),
			('', 'seq', 'orders the changes of a record'),
			('', 'severity', 'error, warning or info'),
			('', 'since', 'since when'),
			('', 'source', 'the source that it is about'),
			('', 'started_at', 'when it began'),
			('', 'target', 'the source that it is for'),
			('', 'told', 'which sources were told of it: all, others, origin or none'),
			('', 'version', 'the version that the sources count'),
			('', 'updated_at', 'when the change was made, as its source said; null: it said none'),
			('', 'xid', 'the transaction that it came in'),
			-- those of one relation
			('backfill_progress', 'entities_left', 'the entities that come after it'),
			('backfill_progress', 'percent', 'done of total'),
			('backfill_progress', 'since', 'when the backfill began'),
			('backfill_progress', 'slot', 'which of the source''s parallel consumers'),
			('binding', 'attached_at', 'when it was attached'),
			('binding', 'capture', 'how its edits are noticed: trigger, poll, or none'),
			('canonical', 'fields', 'the fields: name: value; of a tombstone the last ones'),
			('canonical', 'updated_at', 'the updatedAt of the last change that counted, where it had one'),
			('capture_failure', 'since', 'when it failed first'),
			('capture_failure', 'tried_at', 'when it failed last'),
			('change_id', 'answered_at', 'when it was answered'),
			('child', 'entity', 'the entity of the record that refers to it'),
			('child', 'external_id', 'the id of the record that refers to it'),
			('child', 'field', 'the field that names it'),
			('conflict_log', 'canonical', 'the record''s fields when the conflict arose'),
			('conflict_log', 'canonical_deleted', 'the record was a tombstone then'),
			('conflict_log', 'canonical_source', 'the last source of the record then'),
			('conflict_log', 'decided_at', 'when it was closed'),
			('conflict_log', 'decided_by', 'the role that closed it, for superseded ones by a later change'),
			('conflict_log', 'decided_fields', 'the fields that a merge was decided with'),
			('conflict_log', 'decision', 'incoming, canonical, merge or dismiss, as sync_resolve was told; null: none was given'),
			('conflict_log', 'incoming', 'the change''s fields'),
			('conflict_log', 'incoming_deleted', 'the change was a delete'),
			('conflict_log', 'incoming_detail', 'what else the change said'),
			('conflict_log', 'note', 'what the role that decided has to say'),
			('conflict_log', 'reason', 'why no rung decided'),
			('conflict_log', 'source', 'the source of the change'),
			('conflict_log', 'status', 'pending, resolved, superseded by a later change, or dismissed'),
			('conflict_log', 'version', 'the version of the change'),
			('cursor', 'at_seq', 'see at_xid'),
			('cursor', 'forgotten_seq', 'see forgotten_xid'),
			('cursor', 'stretch_seq', 'see stretch_xid'),
			('cursor', 'end_backfill_done', 'see backfill_done'),
			('cursor', 'end_seq', 'see end_xid'),
			('entity', 'ladder', 'the rungs by which its conflicts are decided, in order'),
			('feed_lag', 'acknowledged_at', 'when it last acknowledged a batch'),
			('feed_lag', 'backfill', 'it is getting all records of an entity'),
			('feed_lag', 'horizon_since', 'since when that transaction goes on'),
			('feed_lag', 'horizon_xid', 'the oldest transaction that goes on'),
			('feed_origin', 'mark', 'what this database is known by to others'),
			('feed_origin', 'system_identifier', 'of the cluster'),
			('feed_state', 'current_log', 'the number of the change log table that is written to'),
			('feed_state', 'incarnation', 'how often the feed began anew'),
			('feed_state', 'only_row', 'there is one row alone'),
			('feed_state', 'switched_at', 'since when that table is written to'),
			('field_rule', 'entity', 'the kind of record; *: every'),
			('job_progress', 'done', 'rows that it has dealt with in this phase'),
			('job_progress', 'phase', 'what it is at: reading, applying, comparing, deleting'),
			('job_progress', 'total', 'rows that there are in this phase; null: not known yet'),
			('job_run', 'attempt', 'which attempt of the scheduled run, from 1'),
			('job_run', 'ended_at', 'when it ended; null: it goes on, or its session is gone'),
			('job_run', 'error', 'why it failed'),
			('job_status', 'cron', 'the cron expression; null: it is not scheduled'),
			('job_status', 'ended_at', 'when the last run ended'),
			('job_status', 'error', 'why the last run failed'),
			('job_status', 'name', 'the name of pg_cron''s job'),
			('job_status', 'run', 'the last run that was not skipped, in syncext.job_run'),
			('job_status', 'schedule', 'the id in syncext.schedule; null: it is not scheduled'),
			('job_status', 'started_at', 'when the last run began'),
			('job_status', 'status', 'how the last run stands: running, done, failed or interrupted'),
			('job_status', 'watermark', 'how far the relation was read by then'),
			('link_state', 'last_exchange_at', 'when an exchange last went well'),
			('link_state', 'last_pull_at', 'when records last came from the hub'),
			('link_state', 'last_push_at', 'when changes were last sent to the hub'),
			('link_state', 'pulled', 'records that came from the hub'),
			('link_state', 'pushed', 'changes that were sent to the hub'),
			('link_status', 'last_exchange', 'when an exchange last went well'),
			('link_status', 'last_pull', 'when records last came from the hub'),
			('link_status', 'last_push', 'when changes were last sent to the hub'),
			('link_status', 'pid', 'the process of its worker; null: none runs'),
			('link_status', 'pulled', 'records that came from the hub'),
			('link_status', 'pushed', 'changes that were sent to the hub'),
			('link_status', 'server', 'the foreign server that says where the hub is'),
			('link_status', 'source', 'the source that stands here for the hub'),
			('link_status', 'unanswered_since', 'since when the oldest of them waits'),
			('listener', 'source', 'the source that the link acts as'),
			('outbound_change', 'attempts', 'how often the target failed'),
			('outbound_change', 'row_version', 'the newest row version that the target lacks'),
			('pending', 'since', 'when it failed first'),
			('problem', 'object', 'what it is about'),
			('problem', 'problem', 'what is wrong with it'),
			('problem', 'source', 'the source that it concerns; null: administrators alone'),
			('counted', 'entity', 'the record''s kind'),
			('counted', 'external_id', 'the record'),
			('counted', 'source', 'the source that the spoke is'),
			('push', 'answers', 'the answers, in the order of the changes'),
			('push', 'source', 'the source that the spoke is'),
			('reference', 'entity', 'the entity that has the field'),
			('reference', 'field', 'the field that names a record of the parent'),
			('reference', 'on_delete', 'what a delete of the parent does: ignore, restrict or cascade'),
			('route', 'entity', 'the entity that it is of'),
			('route', 'source', 'the source that it is for'),
			('route_failure', 'external_id', 'a record that the filter failed on'),
			('route_failure', 'since', 'when it failed on that'),
			('routed', 'own', 'as it has sent a change of it itself, and not as it was served it'),
			('schedule', 'cron', 'the cron expression'),
			('source_priority', 'entity', 'the kind of record; *: every'),
			('source_priority', 'field', 'the field; *: every'),
			('spoke', 'pushed_at', 'when it came'),
			('spoke', 'source', 'the source that the database is'),
			('tick', 'taken_at', 'when it was taken'),
			('waiting', 'parent_id', 'the external id of the record that is referred to, or the source''s own key of it'),
			('waiting', 'parked_at', 'when it came'),
			('waiting', 'source', 'the source that sent it'))
		SELECT c.oid::regclass AS relation, a.attname AS name, s.comment
		FROM pg_depend d
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'v')
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		CROSS JOIN LATERAL (SELECT s.comment FROM said s
		                    WHERE s.name = a.attname::text AND s.relation IN ('', c.relname::text)
		                    ORDER BY s.relation DESC LIMIT 1) s
		WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		  AND col_description(c.oid, a.attnum) IS NULL
	LOOP
		EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', o.relation, o.name, o.comment);
	END LOOP;
END $$;

-- So that sync_check() tells our CHECKs from those that others have put on our tables.
DO $$
DECLARE
	o record;
BEGIN
	FOR o IN
		SELECT k.conrelid::regclass AS relation, k.conname
		FROM pg_constraint k
		JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = k.conrelid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		WHERE d.refclassid = 'pg_extension'::regclass AND k.contype = 'c'
	LOOP
		EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', o.conname, o.relation, 'syncext');
	END LOOP;
END $$;
