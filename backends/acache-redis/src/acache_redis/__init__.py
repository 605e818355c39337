"""The redis adapter of acache."""
