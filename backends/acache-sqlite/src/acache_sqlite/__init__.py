"""The sqlite adapter of acache."""
