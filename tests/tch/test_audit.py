#!/usr/bin/env python3
"""tch's functions that this library calls give libtorch what they say, and the audit notices
when one does not."""

import sys
import unittest

sys.dont_write_bytecode = True

import audit  # noqa: E402


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tch, cls.libtorch = audit.Tch(), audit.Libtorch()

    def audit(self, *names):
        return audit.audit(set(names), self.tch, self.libtorch)

    def test_every_argument_lands_in_the_parameter_of_its_name(self):
        names = audit.called()
        self.assertGreater(len(names), 80, "the sources were not read")
        self.assertEqual(audit.audit(names, self.tch, self.libtorch), [])

    def test_gelu_that_becomes_beta_is_found(self):
        for name in ("f_internal_addmm_activation", "f_internal_addmm_activation_out"):
            fault, = self.audit(name)
            self.assertIn("bool use_gelu", fault)
            self.assertIn("scalar beta", fault)

    def test_a_function_that_is_not_there_is_named(self):
        self.assertEqual(len(self.audit("f_no_such_function")), 1)

    def test_positions_names_types_and_defaults_count(self):
        takes = [("self", "tensor", False), ("dim", "int?", False), ("keepdim", "bool", True)]
        given = [("self", "tensor"), ("dim", "int")]
        self.assertTrue(audit.fits(given, takes))
        self.assertTrue(audit.fits([*given, ("keepdim", "bool")], takes))
        for wrong in (given[:1], given[::-1], [*given, ("sparse", "bool")],
                      [*given, ("keepdim", "int")], [*given, ("keepdim", "bool"), ("a", "int")]):
            self.assertFalse(audit.fits(wrong, takes), wrong)

    def test_most_of_tchs_functions_can_be_read(self):
        """So that a new call seldom meets a form of C++ that the audit does not know."""
        unreadable = [f for f in audit.audit(set(self.tch.names), self.tch, self.libtorch)
                      if "can't be read" in f]
        self.assertLess(len(unreadable), 0.25 * len(self.tch.names), unreadable[:20])


if __name__ == "__main__":
    unittest.main()
