"""What people see: the terminal now, pages and plots later."""
