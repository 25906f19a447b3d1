"""A content type each: a payload to rows, and predictions to text."""
