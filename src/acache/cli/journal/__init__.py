"""`acache journal`: look after acknowledged writes that have not reached their source."""
