// SPDX-License-Identifier: GPL-2.0
/*
 * The functions for the resources of a device that the kernel crate calls (Devres in rust/kernel/devres.rs),
 * and that the kernel does not export to modules. Like those in drivers/base/devres.c they work on the list
 * that belongs to struct device.
 */
#include <linux/cleanup.h>
#include <linux/device.h>
#include <linux/list.h>
#include <linux/spinlock.h>

#include "../drivers/base/base.h"

void devres_node_init(struct devres_node *node, dr_node_release_t release, dr_node_free_t free_node)
{
	*node = (struct devres_node){ .release = release, .free_node = free_node };
	INIT_LIST_HEAD(&node->entry);
}

void devres_node_add(struct device *dev, struct devres_node *node)
{
	guard(spinlock_irqsave)(&dev->devres_lock);
	list_add_tail(&node->entry, &dev->devres_head);
}

/*
 * Returns whether the node was on the list. While a device is unbound its nodes are on a list of devres_release_all(),
 * and do not belong to the caller any more.
 */
bool devres_node_remove(struct device *dev, struct devres_node *node)
{
	struct devres_node *other;

	guard(spinlock_irqsave)(&dev->devres_lock);
	list_for_each_entry(other, &dev->devres_head, entry) {
		if (other == node) {
			list_del_init(&node->entry);
			return true;
		}
	}
	return false;
}

void devres_set_node_dbginfo(struct devres_node *node, const char *name, size_t size)
{
	node->name = name;
	node->size = size;
}
