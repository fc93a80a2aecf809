-- Polled relations: how far each was read, what of them could not be brought to
-- the hub, and the runs of whatever works on an attached relation.

CREATE TABLE syncext.job_run (
	id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	relation      regclass NOT NULL REFERENCES syncext.binding ON DELETE CASCADE,
	job           text COLLATE "C" NOT NULL CHECK (job IN ('poll', 'deliver', 'load')),
	status        text COLLATE "C" NOT NULL
	              CHECK (status IN ('running', 'done', 'failed', 'interrupted', 'skipped')),
	started_at    timestamptz NOT NULL,
	ended_at      timestamptz,
	counts        jsonb,
	error         text,
	watermark     timestamptz,
	scheduled_for timestamptz,
	attempt       integer NOT NULL DEFAULT 1,
	pid           integer,
	role          text COLLATE "C",
	phase         text COLLATE "C",
	done          bigint,
	total         bigint,
	progress_at   timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE syncext.job_run IS 'the runs of polls and scheduled deliveries';
COMMENT ON COLUMN syncext.job_run.status IS
	'running, done, failed (see error), interrupted (the session that ran it is gone), skipped (the run before it was still going)';
COMMENT ON COLUMN syncext.job_run.counts IS 'what it did, as it answered';
COMMENT ON COLUMN syncext.job_run.watermark IS 'how far the relation was read when it ended';
COMMENT ON COLUMN syncext.job_run.scheduled_for IS 'when it should have run; null: it was called by hand';
COMMENT ON COLUMN syncext.job_run.phase IS 'what it is at: reading, applying, comparing, deleting';
COMMENT ON COLUMN syncext.job_run.done IS 'rows that it has dealt with in this phase';
COMMENT ON COLUMN syncext.job_run.total IS 'rows that there are in this phase; null: not known yet';
CREATE INDEX job_run_relation ON syncext.job_run (relation, job, id);
CREATE INDEX job_run_running ON syncext.job_run (relation, job) WHERE status = 'running';
SELECT pg_catalog.pg_extension_config_dump('syncext.job_run', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.job_run_id_seq', '');

-- A run that goes on holds a lock; its row alone could be that of a session which
-- is gone.
CREATE VIEW syncext.job_progress AS
	SELECT r.id, r.relation, r.job, r.phase, r.done, r.total, r.started_at, r.progress_at, r.pid
	FROM syncext.job_run r
	JOIN pg_catalog.pg_locks l ON l.pid = r.pid AND l.objid = r.relation
	WHERE r.status = 'running' AND l.locktype = 'object' AND l.granted
	  AND l.classid = 'syncext.binding'::pg_catalog.regclass
	  AND l.objsubid = CASE r.job WHEN 'poll' THEN 1 WHEN 'deliver' THEN 2 ELSE 3 END
	  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
COMMENT ON VIEW syncext.job_progress IS 'the polls and scheduled deliveries that are running now, and how far they are';

CREATE TABLE syncext.poll_state (
	relation         regclass PRIMARY KEY REFERENCES syncext.binding ON DELETE CASCADE,
	watermark        timestamptz,
	polled_at        timestamptz,
	full_compared_at timestamptz,
	new_rows         bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.poll_state IS 'how far each polled relation was read';
COMMENT ON COLUMN syncext.poll_state.watermark IS
	'the highest value of the updated_column that was dealt with; the next poll begins syncext.poll_overlap before it; null: at the beginning';
COMMENT ON COLUMN syncext.poll_state.polled_at IS 'when the last poll that came to its end began';
COMMENT ON COLUMN syncext.poll_state.full_compared_at IS 'when the last full compare that came to its end began';
COMMENT ON COLUMN syncext.poll_state.new_rows IS
	'rows that polls have seen for the first time since the last full compare; they do not count in syncext.poll_delete_limit';
SELECT pg_catalog.pg_extension_config_dump('syncext.poll_state', '');

-- Edits that are in the relation and not in the hub, because something is wrong
-- with them.  The row itself is not kept: it is read again.
CREATE TABLE syncext.capture_failure (
	relation     regclass NOT NULL REFERENCES syncext.binding ON DELETE CASCADE,
	external_id  text COLLATE "C" NOT NULL,
	since        timestamptz NOT NULL,
	tried_at     timestamptz NOT NULL DEFAULT now(),
	attempts     integer NOT NULL,
	next_attempt timestamptz,
	dead_since   timestamptz,
	error        text COLLATE "C",
	PRIMARY KEY (relation, external_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE syncext.capture_failure IS 'rows of attached relations that could not be brought to the hub';
COMMENT ON COLUMN syncext.capture_failure.external_id IS 'empty: the rows without a usable key';
COMMENT ON COLUMN syncext.capture_failure.next_attempt IS
	'from when on the next poll reads the row again; null: a dead letter, which an edit of the row or sync_redrive revives';
COMMENT ON COLUMN syncext.capture_failure.dead_since IS 'when it was given up';
SELECT pg_catalog.pg_extension_config_dump('syncext.capture_failure', '');

CREATE PROCEDURE @extschema@.sync_poll(relation regclass, full_compare boolean DEFAULT false, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_poll';
COMMENT ON PROCEDURE @extschema@.sync_poll(regclass, boolean, jsonb) IS
	'bring what has changed in a polled relation since the last time to the hub; with full_compare all of it, and what has vanished; commits between batches';
