// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/tap.h"

#include "control/base/err.h"
#include "control/base/log.h"
#include "kni/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOG_AREA "kni.tap"

// @return the descriptor of a new device, -errno after a log line.
static int device_open(const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(flags | IFF_NO_PI | IFF_TUN_EXCL)};
	int fd, err;

	if (name[0] == '\0' || strlen(name) >= sizeof(ifr.ifr_name) || strchr(name, '%') != NULL) {
		LOG(ERR, "not a device name name=\"%s\"", name);
		return err_set(EINVAL);
	}
	strcpy(ifr.ifr_name, name);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		err = errno;
		LOG(ERR, "cannot open /dev/net/tun error=\"%s\"", strerror(err));
		return err_set(err);
	}
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		err = errno;
		LOG(ERR, "cannot create a device name=%s error=\"%s\"", name, strerror(err));
		close(fd);
		return err_set(err);
	}
	return fd;
}

static int tap_set_up(struct kni_nl *nl, const char *name, const uint8_t mac[6], uint16_t mtu)
{
	int ifindex = kni_link_index(name);
	int rc;

	if (ifindex < 0)
		return ifindex;
	rc = kni_link_mac_set(nl, ifindex, mac);
	return rc < 0 ? rc : kni_link_mtu_set(nl, ifindex, mtu);
}

static int tun_set_up(struct kni_nl *nl, const char *name, uint16_t mtu, uint32_t txqueuelen)
{
	int ifindex = kni_link_index(name);
	int rc;

	if (ifindex < 0)
		return ifindex;
	rc = kni_link_mtu_set(nl, ifindex, mtu);
	if (rc == 0)
		rc = kni_link_txqlen_set(nl, ifindex, txqueuelen);
	return rc < 0 ? rc : kni_link_addrgen_none(nl, ifindex);
}

int kni_tap_create(const char *name, const uint8_t mac[6], uint16_t mtu)
{
	struct kni_nl *nl;
	int fd, rc;

	nl = kni_nl_create();
	if (nl == NULL)
		return -errno;
	fd = device_open(name, IFF_TAP);
	rc = fd < 0 ? fd : tap_set_up(nl, name, mac, mtu);
	kni_nl_destroy(nl);
	if (rc == 0)
		return fd;
	kni_tap_close(fd);
	return err_set(-rc);
}

int kni_tun_create(const char *name, uint16_t mtu, uint32_t txqueuelen)
{
	struct kni_nl *nl;
	int fd, rc;

	nl = kni_nl_create();
	if (nl == NULL)
		return -errno;
	fd = device_open(name, IFF_TUN);
	rc = fd < 0 ? fd : tun_set_up(nl, name, mtu, txqueuelen);
	kni_nl_destroy(nl);
	if (rc == 0)
		return fd;
	kni_tap_close(fd);
	return err_set(-rc);
}

ssize_t kni_tap_read(int fd, void *buf, size_t size)
{
	ssize_t n;

	do
		n = read(fd, buf, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int kni_tap_write(int fd, const void *buf, size_t size)
{
	ssize_t n;

	do
		n = write(fd, buf, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

void kni_tap_close(int fd)
{
	if (fd >= 0)
		close(fd);
}
