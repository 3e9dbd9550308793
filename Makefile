# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB

export CACHE KDIR TREE

help:
	@echo 'Checksum offload for IPoIB connected mode, and a simulated HCA to try it on.'
	@echo
	@echo '  make demo          see it work: fetch a kernel, patch, build, boot, send a file'
	@echo '  make check         all tests; make check T=NAME runs one (T="A B" two)'
	@echo '  make bench         goodput with and without the offload, as ratios'
	@echo '  make list          the names of the tests'
	@echo '  make shell         an interactive shell in a VM with the modules to try'
	@echo '  make build         only build the modules'
	@echo '  make um            the same for the newest kernel, as a user-mode kernel that finds'
	@echo '                     bugs (U=plain: a fast one); scripts/vm -u debug runs it'
	@echo '  make series-check  only prove that the patches apply, compile, are in style'
	@echo '  make bisect-check  boot every patch of the driver on its own; takes a while'
	@echo '  make coverage      which lines of the driver and ibdevsim the tests execute'
	@echo '  make clean         remove what was built from the cache; downloads stay'
	@echo
	@echo '  KDIR=DIR           build for this kernel: a prepared tree, or headers'
	@echo '  CACHE=DIR          where downloads and builds go; now'
	@echo '                     $(or $(CACHE),$(HOME)/.cache/ipoib-csum)'
	@echo '  TREE=DIR           build from this tree with the series, not from patches/'

demo:
	@scripts/demo

check:
	@scripts/check $(T)

bench:
	@scripts/bench

list:
	@scripts/check --list

shell: build
	@scripts/vm -i

build:
	@scripts/build

um:
	@scripts/um $(or $(U),debug)

series-check:
	@scripts/check series

bisect-check:
	@scripts/bisect

coverage:
	@scripts/coverage $(T)

clean:
	@scripts/clean

.PHONY: help demo check bench list shell build um series-check bisect-check coverage clean
