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

#endif							/* SYNCEXT_CAPTURE_TRIGGER_H */
