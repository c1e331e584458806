# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""A Firezone client and a portal under the test's control, in Python; see README.md."""
