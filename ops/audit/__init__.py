# SPDX-License-Identifier: Apache-2.0
"""Evidence for people who do not trust us: signed heads of threads, bundles, and a verifier without our code.

keys        the signer's Ed25519 keys
heads       a signed statement about a thread's chain: its bytes, making one, checking one
signing     follows the journal and signs what is new in it
selection   which threads a question is about, and which of their entries answer it
collect     what the log holds of them
account     the calls of a thread: asked, attempted, ended
narrative   the same for people: one static page
bundle      all of it as a folder
verify      one file that stands alone: the standard library and `cryptography`
"""
