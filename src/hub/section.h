/*
 * section.h
 *	  Working on syncext's own tables with SQL statements, as their owner.
 */
#ifndef SYNCEXT_SECTION_H
#define SYNCEXT_SECTION_H

#include "nodes/pg_list.h"

/* Who the session was before. */
typedef struct Section
{
	Oid			user;
	int			security;
	int			nest_level;
} Section;

/*
 * Be the tables' owner, with a search path of the system's own and no longer
 * waits for locks than this (0: as set), until section_leave or the end of the
 * (sub)transaction.  SPI must be connected for what follows.
 */
extern void section_enter(Section *section, int lock_timeout);
extern void section_leave(Section *section);

/* Run a statement; returns how many rows it was about. */
extern uint64 section_run(const char *format,...) pg_attribute_printf(1, 2);
/* The first column of a query's first row, palloc'd in context; NULL if null. */
extern char *section_text(MemoryContext context, const char *format,...) pg_attribute_printf(2, 3);
extern int64 section_number(const char *format,...) pg_attribute_printf(1, 2);
extern bool section_true(const char *format,...) pg_attribute_printf(1, 2);
/* The first column of all rows, in context. */
extern List *section_texts(MemoryContext context, const char *format,...) pg_attribute_printf(2, 3);

/*
 * Call function(arg) in a subtransaction.  Returns false, and nothing was done,
 * if it had to wait for a lock for too long.
 */
extern bool section_try(void (*function) (void *arg), void *arg);

#endif							/* SYNCEXT_SECTION_H */
