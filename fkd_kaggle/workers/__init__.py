"""Workers: processes that train members, and the scheduler that assigns members to them."""
