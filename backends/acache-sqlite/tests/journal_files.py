"""A folder of journals as a test sees it: what is pending, which files there are, how a process dies."""


async def pending(journal):
    return [(each.key, each.sequence) async for each in journal.recover()]


def files(path, ending="*.db"):
    return sorted(path.glob(ending))


def abandon(journal):
    """Let go of a journal as a killed process would: its log stays, its lock falls."""
    journal._connection._executor.shutdown(wait=True)
    journal._connection._executor = None
    kept = journal._connection._connection
    journal._connection._connection = None
    journal._folder.leave()
    return kept
