/*
 * capture_trigger.h
 *	  The triggers of attached tables, which fire local/capture.
 */
#ifndef SYNCEXT_CAPTURE_TRIGGER_H
#define SYNCEXT_CAPTURE_TRIGGER_H

/* The relation is locked against writers. */
extern void capture_triggers_create(Oid relid);
extern void capture_triggers_drop(Oid relid);
/* Put on partitions that came later the triggers that they would have had. */
extern void capture_triggers_complete(Oid relid);
/* The same of one that was made as a partition, and has no partitions yet. */
extern void capture_triggers_complete_made(Oid relid);
/* Does our trigger, as sync_attach makes it, capture the relation's rows, come what may? */
extern bool capture_triggers_is_captured(Oid relid);

#endif							/* SYNCEXT_CAPTURE_TRIGGER_H */
