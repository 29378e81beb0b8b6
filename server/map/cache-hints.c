/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of hints: see cache-private.h. Writers only make them large enough; readers fill them. */

#include "map/cache-private.h"

#define MAPPINGS_PER_HINT 128U
#define HEIGHT_FROM 3U
#define HINTS_MIN 512U

void cache_adapt_hints(MappingCache *cache) {
        Hints *old = LOAD(&cache->hints);
        uint64_t n_mappings = LOAD(&cache->n_mappings);

        if (root_height(LOAD(&cache->root)) < HEIGHT_FROM)
                return;
        if (old && n_mappings < 4 * old->made_for && cache->last_start >> old->shift < old->n)
                return;
        uint32_t n = HINTS_MIN;
        while (n < n_mappings / MAPPINGS_PER_HINT * 2 && n < UINT32_MAX / 4)
                n *= 2;
        Hints *hints = calloc(1, sizeof(Hints) + n * sizeof(NodeIndex));
        if (!hints) /* slower, no worse */
                return;
        hints->older = old;
        hints->made_for = n_mappings;
        hints->n = n;
        while (cache->last_start >> hints->shift >= n - n / 4)
                hints->shift++;
        atomic_fetch_add(&cache->pool->used_bytes, sizeof(Hints) + n * sizeof(NodeIndex));
        atomic_store_explicit(&cache->hints, hints, memory_order_release);
}

void cache_free_hints(MappingCache *cache) {
        for (Hints *hints = LOAD(&cache->hints), *older; hints; hints = older) {
                older = hints->older;
                atomic_fetch_sub(&cache->pool->used_bytes, sizeof(Hints) + hints->n * sizeof(NodeIndex));
                free(hints);
        }
}
