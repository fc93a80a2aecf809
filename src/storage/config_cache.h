/*
 * config_cache.h
 *	  What was read from the configuration's tables, kept until one of them changes.
 *
 * What a cache hands out stays as it is, and readable, until the end of the
 * transaction, though by then another content may be in force.  So code that commits, or
 * waits for a lock, looks things up again by a name that it has copied.  In a build with
 * assertions every transaction ends with the contents being freed, changed or not: code
 * that keeps a pointer for longer reads rubbish, and its test fails.
 */
#ifndef SYNCEXT_CONFIG_CACHE_H
#define SYNCEXT_CONFIG_CACHE_H

typedef struct ConfigCache
{
	const char *name;			/* of its memory context */
	void	   *(*load) (void); /* makes the content, in the current context */

	/* config_cache_get's own */
	bool		registered;
	bool		valid;
	void	   *content;
	MemoryContext context;		/* of the content; NULL: there was none yet */
	uint64		generation;		/* how often it was made */
	struct ConfigCache *next;
} ConfigCache;

/* The content in force now, after reading it if it is outdated. */
extern void *config_cache_get(ConfigCache *cache);

/*
 * Have a function called at the end of each transaction, to let go of what it has made
 * of such a content; only in a build with assertions.
 */
extern void config_forget_at_end(void (*forget) (void));
/* Let a memory context that is in use no more go with the end of the transaction. */
extern void config_outdate(MemoryContext context);

#endif							/* SYNCEXT_CONFIG_CACHE_H */
