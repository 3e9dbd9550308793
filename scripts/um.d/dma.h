/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * For scripts/tests.d/dma-errors, which has the compiler include this first: DMA mappings
 * of one file of the driver, DMA_FILE, that fail, and are counted. Those of a simulated
 * HCA cannot fail, and CONFIG_DMA_API_DEBUG does not see them.
 */
#include <linux/moduleparam.h>
#include <rdma/ib_verbs.h>

#define DMA_FAILED	(~0ULL)

/* If set, every one of so many fails */
static unsigned int dma_fail;
static unsigned int dma_failed;
/* How many there are now, and a sum over these: 0 if what was unmapped was what was mapped */
static unsigned int dma_mapped;
static unsigned long long dma_sum;

#define DMA_PARAM_(name, file, type, mode) \
	module_param_named(name##_##file, name, type, mode)
#define DMA_PARAM(name, file, type, mode) DMA_PARAM_(name, file, type, mode)
DMA_PARAM(dma_fail, DMA_FILE, uint, 0644);
DMA_PARAM(dma_failed, DMA_FILE, uint, 0444);
DMA_PARAM(dma_mapped, DMA_FILE, uint, 0444);
DMA_PARAM(dma_sum, DMA_FILE, ullong, 0444);

static void dma_count(u64 addr, size_t size, enum dma_data_direction dir, bool page,
		      int n)
{
	static DEFINE_SPINLOCK(lock);
	u64 hash = addr * GOLDEN_RATIO_64 + (size << 3 | dir << 1 | page);
	unsigned long flags;

	/* What is swapped between two shall not make up for each other. */
	hash ^= hash >> 32;

	spin_lock_irqsave(&lock, flags);
	dma_mapped += n;
	dma_sum += n * hash * GOLDEN_RATIO_64;
	spin_unlock_irqrestore(&lock, flags);
}

static bool dma_fails(void)
{
	static atomic_t calls;
	unsigned int each = READ_ONCE(dma_fail);

	if (!each || atomic_inc_return(&calls) % each)
		return false;
	dma_failed++;
	return true;
}

static inline u64 dma_map_page_or_fail(struct ib_device *dev, struct page *page,
				       unsigned long offset, size_t size,
				       enum dma_data_direction dir)
{
	u64 addr;

	if (dma_fails())
		return DMA_FAILED;
	addr = ib_dma_map_page(dev, page, offset, size, dir);
	dma_count(addr, size, dir, true, 1);
	return addr;
}

static inline u64 dma_map_single_or_fail(struct ib_device *dev, void *p, size_t size,
					 enum dma_data_direction dir)
{
	u64 addr;

	if (dma_fails())
		return DMA_FAILED;
	addr = ib_dma_map_single(dev, p, size, dir);
	dma_count(addr, size, dir, false, 1);
	return addr;
}

#define ib_dma_map_page		dma_map_page_or_fail
#define ib_dma_map_single	dma_map_single_or_fail
#define ib_dma_mapping_error(dev, addr)		((addr) == DMA_FAILED)
#define ib_dma_unmap_page(dev, addr, size, dir)		dma_count(addr, size, dir, true, -1)
#define ib_dma_unmap_single(dev, addr, size, dir)	dma_count(addr, size, dir, false, -1)
