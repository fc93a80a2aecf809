/*
 * attach.h
 *	  The triggers of attached tables.
 */
#ifndef SYNCEXT_ATTACH_H
#define SYNCEXT_ATTACH_H

/* Put on partitions that came later the triggers that sync_attach would have. */
extern void attach_complete(Oid relid);

#endif							/* SYNCEXT_ATTACH_H */
