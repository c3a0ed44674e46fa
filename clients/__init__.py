"""What people and programs use: the ChatClient API, the command line and the Streamlit page."""
