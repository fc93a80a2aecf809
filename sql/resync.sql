-- All records again, on demand.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2);
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_entity('empty');
SELECT sync_add_reference('order', 'customer', 'customer');

SELECT change('CRM', 'customer', 'C' || i, 1, '{"n": 1}') FROM generate_series(1, 4) i;
SELECT change('CRM', 'order', 'O' || i, 1, jsonb_build_object('n', 1, 'customer', 'C' || i)) FROM generate_series(1, 3) i;
SELECT sync_apply('{"source": "CRM", "entity": "customer", "externalId": "C4", "version": 2, "deleted": true}') ->> 'resolution';
SELECT take('ERP');
SELECT take('ERP');

-- one entity, with what was deleted
SELECT sync_resync('ERP', 'customer');
SELECT source, slot, entity, entities_left, done, total, percent, since <= clock_timestamp() AS since FROM syncext.backfill_progress;
SELECT backfill FROM syncext.feed_lag WHERE source = 'ERP';
SELECT take('ERP', 3);
SELECT source, entity, done, total, percent FROM syncext.backfill_progress;
-- what changes meanwhile comes beside it
SELECT change('CRM', 'customer', 'C1', 3, '{"n": 3}'), change('CRM', 'order', 'O1', 2, '{"n": 2, "customer": "C1"}');
SELECT take('ERP', 2), take('ERP', 2), take('ERP', 2), take('ERP', 2);
SELECT * FROM syncext.backfill_progress;
-- all: parents first
SELECT sync_resync('ERP');
SELECT entity, entities_left, done, total FROM syncext.backfill_progress;
SELECT take('ERP', 4), take('ERP', 4), take('ERP', 4);
-- again while it goes on: once more from the start
SELECT sync_resync('ERP');
SELECT take('ERP', 2);
SELECT sync_resync('ERP', 'customer'), sync_resync('ERP', 'customer'), sync_resync('ERP', 'order');
SELECT entity, entities_left, done, total FROM syncext.backfill_progress;
SELECT take('ERP'), take('ERP'), take('ERP'), take('ERP');
-- while a batch is out, which stays as it is
SELECT change('CRM', 'customer', 'C2', 2, '{"n": 2}');
SELECT external_id, batch FROM sync_pull('ERP') \gset
SELECT sync_resync('ERP', 'customer');
SELECT external_id, batch = :batch AS same FROM sync_pull('ERP');
SELECT take('ERP'), take('ERP'), take('ERP');
-- in the middle of a backfill, too
SELECT sync_resync('ERP');
SELECT take('ERP', 2);
SELECT string_agg(external_id, ' '), min(batch) AS batch FROM sync_pull('ERP', 1) \gset
SELECT sync_resync('ERP');
SELECT string_agg(external_id, ' '), min(batch) = :batch AS same FROM sync_pull('ERP', 1);
SELECT sync_ack('ERP', :batch);
SELECT take('ERP'), take('ERP'), take('ERP'), take('ERP');
-- a record that is a dead letter stays one
SELECT change('CRM', 'customer', 'C3', 2, '{"n": 2}');
SELECT sync_ack('ERP', min(batch), '[{"entity": "customer", "externalId": "C3", "error": "no"}]') FROM sync_pull('ERP');
UPDATE syncext.pending SET next_attempt = NULL;
SELECT sync_resync('ERP', 'customer'), take('ERP'), take('ERP');
SELECT external_id FROM syncext.dead_letter;
SELECT sync_redrive('ERP'), take('ERP');
-- nothing of it: nothing to do
SELECT sync_resync('ERP', 'empty');
SELECT * FROM syncext.backfill_progress;
-- what a source doesn't get it can't have again
SELECT sync_subscribe('ERP', '{order}');
SELECT sync_resync('ERP', 'customer');
SELECT sync_resync('ERP');
SELECT take('ERP'), take('ERP');
-- a source that never pulled
INSERT INTO syncext.source (name) VALUES ('Hand');
SELECT sync_resync('Hand');
SELECT take('Hand', 100), take('Hand', 100), take('Hand', 100);

-- Bad input
SELECT sync_resync('Nobody');
SELECT sync_resync('ERP', 'nothing');
SELECT sync_resync(NULL);
-- for administrators
CREATE ROLE syncext_resync_test;
SET ROLE syncext_resync_test;
SELECT sync_resync('ERP');
SELECT * FROM syncext.backfill_progress;
RESET ROLE;
DROP ROLE syncext_resync_test;
DROP EXTENSION syncext;
